# What Twinhull asks of a Windows host: machines of Hyper-V, disks, the iSCSI initiator. Windows PowerShell 5.1.
# Every function whose noun begins with Twinhull can be called through host.ps1; the others help them.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

foreach ($part in @(Get-ChildItem -LiteralPath $PSScriptRoot -Filter '*.ps1' | Sort-Object -Property Name)) {
    if ($part.Name -ne 'host.ps1') { . $part.FullName }
}

Export-ModuleMember -Function '*-Twinhull*', 'Invoke-HostRequest', 'Get-HostGreeting'
