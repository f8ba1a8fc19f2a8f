# Runs the facts as the module does, once for each case, with a registry of plain data in place of the one that Linux lacks.
param([string]$Module, [string]$Request, [string]$Answer)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$directory = [IO.Path]::GetDirectoryName($Request)

Function global:Get-ItemProperty {
    param([string]$LiteralPath, $ErrorAction)
    [pscustomobject]$global:PreflightRegistry[$LiteralPath]
}

Import-Module StandIns
Import-Module $Module
$answers = @{}
foreach ($case in (Get-Content -Raw -LiteralPath $Request | ConvertFrom-Json -AsHashtable).cases) {
    $env:STANDIN_STATE = Join-Path $directory "$($case.name)-state.json"
    $env:STANDIN_INITIAL = Join-Path $directory "$($case.name)-initial.json"
    ConvertTo-Json -InputObject $case.host -Depth 8 | Set-Content -LiteralPath $env:STANDIN_INITIAL

    $global:PreflightRegistry = $case.registry
    $root = Join-Path $directory "$($case.name)-HKLM"
    [void][IO.Directory]::CreateDirectory($root)
    foreach ($key in $case.registry.Keys) {
        [void][IO.Directory]::CreateDirectory((Join-Path $root $key.Substring(6).Replace('\', '/')))
    }
    [void](New-PSDrive -Name HKLM -PSProvider FileSystem -Root $root -Scope Global)
    foreach ($line in $case.setup) { $null = Invoke-Expression $line }

    $wanted = $case.wanted
    $answers[$case.name] = Get-PreflightFact @wanted
    Remove-PSDrive -Name HKLM -Scope Global
}
ConvertTo-Json -InputObject $answers -Depth 9 | Set-Content -LiteralPath $Answer
