# Runs the role's script once for each step as ansible.windows.win_powershell does: with $Ansible in reach.
param([string]$Script, [string]$Request, [string]$Answer)
$ErrorActionPreference = 'Stop'
Import-Module StandIns
$body = [scriptblock]::Create((Get-Content -Raw -LiteralPath $Script))
$answers = @()
foreach ($step in (Get-Content -Raw -LiteralPath $Request | ConvertFrom-Json -AsHashtable).steps) {
    foreach ($line in $step.setup) { $null = Invoke-Expression $line }
    $Ansible = [pscustomobject]@{ Changed = $true; CheckMode = $step.check; Result = $null; Diff = $null }
    $parameters = $step.parameters
    $null = & $body @parameters -WhatIf:$step.check
    try { $now = Get-MpPreference } catch { $now = $null }
    $answers += @{
        changed = $Ansible.Changed; result = $Ansible.Result; diff = $Ansible.Diff
        paths = @($now.ExclusionPath | Where-Object { $_ }); processes = @($now.ExclusionProcess | Where-Object { $_ })
    }
}
ConvertTo-Json -InputObject $answers -Depth 6 | Set-Content -LiteralPath $Answer
