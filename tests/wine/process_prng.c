/* bcryptprimitives.dll for Wine 8, which has none: the one function that Rust's standard library (in `cryptography`)
 * calls. Windows has it since version 7; it always returns TRUE. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length_bytes);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length_bytes)
{
    while (length_bytes > 0) {
        ULONG part_bytes = length_bytes > 0x10000000 ? 0x10000000 : (ULONG)length_bytes;
        if (!SystemFunction036(data, part_bytes)) TerminateProcess(GetCurrentProcess(), 1);
        data += part_bytes;
        length_bytes -= part_bytes;
    }
    return TRUE;
}
