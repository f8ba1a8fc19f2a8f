/* The guest's program: writes numbered, checksummed records, each followed by fsync, and only then tells the
 * number outside. After a reboot it goes on behind the last whole record and tells what it found.
 *
 * recorder FILE REPORTS SLOTS PAUSE_MS
 *
 * A record is 4096 bytes, little endian: "TWHLREC1", u64 number (from 1), 4072 bytes made from the number, u64
 * CRC-32 (as zlib's) of all that stands before. Record n lies in slot (n - 1) modulo SLOTS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 4096, HEAD = 16, BODY = RECORD - HEAD - 8 };
static const char magic[8] = "TWHLREC1";
static int reports;

static void say(const char *word, uint64_t first, uint64_t second)
{
    char line[96];
    int length = snprintf(line, sizeof line, "\n%s %" PRIu64 " %" PRIu64 ".\n", word, first, second);
    if (write(reports, line, (size_t)length) != length)
        exit(3);
}

static void fail(const char *what)
{
    say(what, (uint64_t)errno, 0);
    exit(1);
}

static uint64_t digest(const uint8_t *bytes, size_t length)
{
    static uint32_t table[256];
    uint32_t sum = 0xffffffffu;

    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
            table[i] = value;
        }
    for (size_t i = 0; i < length; i++)
        sum = sum >> 8 ^ table[(sum ^ bytes[i]) & 0xff];
    return sum ^ 0xffffffffu;
}

static void put64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static void make(uint8_t *record, uint64_t number)
{
    uint64_t state = number * 0x9e3779b97f4a7c15u + 1;
    memcpy(record, magic, sizeof magic);
    put64(record + 8, number);
    for (int i = 0; i < BODY; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        put64(record + HEAD + i, state);
    }
    put64(record + RECORD - 8, digest(record, RECORD - 8));
}

static int whole(const uint8_t *record)
{
    return memcmp(record, magic, sizeof magic) == 0 && get64(record + RECORD - 8) == digest(record, RECORD - 8);
}

int main(int argc, char **argv)
{
    static uint8_t record[RECORD];
    uint64_t last = 0, found = 0, damaged = 0, slots;
    struct timespec pause = {0, 0};
    ssize_t got;
    int file;

    if (argc != 5)
        return 2;
    slots = strtoull(argv[3], NULL, 10);
    pause.tv_nsec = atol(argv[4]) * 1000000L;
    reports = open(argv[2], O_WRONLY | O_CLOEXEC);
    file = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (reports < 0)
        return 3;
    if (file < 0)
        fail("open-failed");
    while ((got = read(file, record, RECORD)) > 0) {
        if (got == RECORD && whole(record)) {
            found++;
            if (get64(record + 8) > last)
                last = get64(record + 8);
        } else {
            damaged++;
        }
    }
    if (got < 0)
        fail("read-failed");
    say("boot", last, damaged);
    say("found", found, damaged);
    for (uint64_t number = last + 1;; number++) {
        make(record, number);
        if (pwrite(file, record, RECORD, (off_t)((number - 1) % slots) * RECORD) != RECORD)
            fail("write-failed");
        if (fsync(file) != 0)
            fail("fsync-failed");
        say("ack", number, 0);
        if (pause.tv_nsec > 0)
            nanosleep(&pause, NULL);
    }
}
