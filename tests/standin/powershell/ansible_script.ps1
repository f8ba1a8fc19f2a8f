# Runs a script as ansible.windows.win_powershell does: $Ansible, parameters, streams; tells all of it as JSON.
param([string] $Request)
$given = Get-Content -Raw -LiteralPath $Request | ConvertFrom-Json -AsHashtable
Import-Module StandIns
$Ansible = [PSCustomObject]@{
    PSTypeName = 'Ansible.Windows.WinPowerShell.Module'
    CheckMode = $given.check_mode; Verbosity = 0; Result = @{}; Diff = @{}; Changed = $true; Failed = $false; Tmpdir = 'C:\Windows\Temp'
}
$ErrorActionPreference = $given.error_action
$parameters = @{}
foreach ($key in $given.parameters.Keys) { $parameters[$key] = $given.parameters[$key] }
if ($given.should_process) {
    $parameters.Confirm = $false
    $parameters.WhatIf = $given.check_mode
}
$failure = $null
$errors = @()
$output = @()
try {
    $script = [ScriptBlock]::Create($given.script)
    $output = @(& $script @parameters 2>&1 3>$null 6>$null)
}
catch { $failure = "$_" }
foreach ($item in $output) { if ($item -is [Management.Automation.ErrorRecord]) { $errors += "$item" } }
$told = @{
    changed = [bool] $Ansible.Changed; failed = [bool] ($Ansible.Failed -or $failure); result = $Ansible.Result; diff = $Ansible.Diff
    output = @($output | Where-Object { $_ -isnot [Management.Automation.ErrorRecord] }); errors = $errors; failure = $failure
}
[IO.File]::WriteAllText($given.answer, (ConvertTo-Json -InputObject $told -Depth 8 -Compress))
