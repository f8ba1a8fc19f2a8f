# Exclusions of Microsoft Defender: adds what is missing, removes what was added here and is not wanted any more.
# What was there before, or was added by somebody else, is never touched: $Record lists what was added here.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string[]] $Path = @(),
    [string[]] $Process = @(),
    [Parameter(Mandatory)] [string] $Record,
    [ValidateSet('present', 'absent')] [string] $State = 'present'
)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false

function Get-Other {
    try {
        $products = @(Get-CimInstance -Namespace 'root/SecurityCenter2' -ClassName 'AntiVirusProduct')
    }
    catch {
        return
    }
    foreach ($product in $products) {
        if ($product.displayName -notmatch 'Defender') { $product.displayName }
    }
}

function Get-Difference([string[]] $From, [string[]] $Without) {
    foreach ($item in $From) {
        if ($Without -notcontains $item) { $item }
    }
}

$others = @(Get-Other)
try {
    $preference = Get-MpPreference
}
catch {
    $preference = $null
}
if ($null -eq $preference) {
    $Ansible.Result = @{ defender = $false; others = $others; added = @(); removed = @() }
    return
}

$kinds = [ordered]@{ ExclusionPath = $Path; ExclusionProcess = $Process }
$recorded = $null
if (Test-Path -LiteralPath $Record) {
    $recorded = Get-Content -LiteralPath $Record -Raw -Encoding UTF8 | ConvertFrom-Json
}
$add = @{}
$remove = @{}
$keep = [ordered]@{}
$before = @()
$after = @()
foreach ($kind in $kinds.Keys) {
    $present = @($preference.$kind | Where-Object { $_ })
    $wanted = @($kinds[$kind] | Where-Object { $_ })
    $ours = @()
    if ($null -ne $recorded) { $ours = @($recorded.$kind | Where-Object { $_ }) }
    if ($State -eq 'absent') { $wanted = @() }
    $add[$kind] = @(Get-Difference $wanted $present)
    $remove[$kind] = @(Get-Difference $ours $wanted | Where-Object { $present -contains $_ })
    $keep[$kind] = @(@($ours | Where-Object { $wanted -contains $_ }) + $add[$kind] | Select-Object -Unique)
    $before += @($present | ForEach-Object { "${kind}: $_" })
    $left = @(Get-Difference $present $remove[$kind]) + $add[$kind]
    $after += @($left | ForEach-Object { "${kind}: $_" })
}
$added = @($kinds.Keys | ForEach-Object { $add[$_] })
$removed = @($kinds.Keys | ForEach-Object { $remove[$_] })
$Ansible.Changed = ($added.Count + $removed.Count) -gt 0
$Ansible.Result = @{ defender = $true; others = $others; added = $added; removed = $removed }
$Ansible.Diff = @{ before = ($before -join "`n") + "`n"; after = ($after -join "`n") + "`n" }
if ($Ansible.CheckMode) { return }

# The record comes first, so that an exclusion is never there without being known as ours.
if ($State -eq 'present' -and $Ansible.Changed) {
    $folder = Split-Path -Path $Record -Parent
    if (-not (Test-Path -LiteralPath $folder)) { New-Item -Path $folder -ItemType Directory -Force | Out-Null }
    $keep | ConvertTo-Json | Set-Content -LiteralPath $Record -Encoding UTF8
}
if ($add['ExclusionPath']) { Add-MpPreference -ExclusionPath $add['ExclusionPath'] }
if ($add['ExclusionProcess']) { Add-MpPreference -ExclusionProcess $add['ExclusionProcess'] }
if ($remove['ExclusionPath']) { Remove-MpPreference -ExclusionPath $remove['ExclusionPath'] }
if ($remove['ExclusionProcess']) { Remove-MpPreference -ExclusionProcess $remove['ExclusionProcess'] }
if ($State -eq 'absent' -and (Test-Path -LiteralPath $Record)) {
    Remove-Item -LiteralPath $Record -Force
    $Ansible.Changed = $true
}
