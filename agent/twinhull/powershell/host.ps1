# The program of a long-lived Windows PowerShell 5.1 host: reads requests, answers each, ends with its pipe.
# A frame is a length (4 bytes, little-endian) and that many bytes of UTF-8 JSON. Both pipes are inherited handles,
# never the standard streams: what a cmdlet prints cannot come between the frames.
param(
    [Parameter(Mandatory)] [string] $RequestHandle,
    [Parameter(Mandatory)] [string] $ReplyHandle
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$global:ProgressPreference = 'SilentlyContinue'
$global:WarningPreference = 'SilentlyContinue'
$global:ConfirmPreference = 'None'
[System.Threading.Thread]::CurrentThread.CurrentCulture = [System.Globalization.CultureInfo]::InvariantCulture

$limitBytes = 16MB
$requests = New-Object System.IO.Pipes.AnonymousPipeClientStream -ArgumentList ([System.IO.Pipes.PipeDirection]::In), $RequestHandle
$replies = New-Object System.IO.Pipes.AnonymousPipeClientStream -ArgumentList ([System.IO.Pipes.PipeDirection]::Out), $ReplyHandle

function Read-Exactly([int] $Count) {
    # That many bytes, or nothing at the end of the pipe.
    $buffer = New-Object byte[] $Count
    $have = 0
    while ($have -lt $Count) {
        $got = $requests.Read($buffer, $have, $Count - $have)
        if ($got -eq 0) { return $null }
        $have += $got
    }
    return , $buffer
}

function Write-Frame([string] $Text) {
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($Text)
    $replies.Write([System.BitConverter]::GetBytes([int] $bytes.Length), 0, 4)
    $replies.Write($bytes, 0, $bytes.Length)
    $replies.Flush()
}

Import-Module (Join-Path $PSScriptRoot 'Twinhull.psm1') -DisableNameChecking
Write-Frame (Get-HostGreeting)
while ($true) {
    $head = Read-Exactly 4
    if ($null -eq $head) { break }
    $length = [System.BitConverter]::ToInt32($head, 0)
    if ($length -le 0 -or $length -gt $limitBytes) { break }
    $body = Read-Exactly $length
    if ($null -eq $body) { break }
    Write-Frame (Invoke-HostRequest ([System.Text.Encoding]::UTF8.GetString($body)))
}
