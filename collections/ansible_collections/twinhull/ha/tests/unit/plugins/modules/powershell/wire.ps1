# Listens, connects, measures and stops, as the tasks of the role do one after the other.
param([string]$Module, [string]$Request, [string]$Answer)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
Import-Module StandIns
Import-Module $Module

$given = Get-Content -Raw -LiteralPath $Request | ConvertFrom-Json -AsHashtable
$started = Start-PreflightListener -Listen $given.listen -Token $given.token -LifetimeS 60
$told = @{
    bound = $started.bound
    connections = Test-PreflightTarget -Targets $given.targets -Token $given.token -TimeoutS 4
    foreign = Measure-PreflightBandwidth -Targets $given.measure -Token 'other' -TimeoutS 4 -MaxBytes 65536 -MaxS 1
    measured = Measure-PreflightBandwidth -Targets $given.measure -Token $given.token -TimeoutS 4 -MaxBytes 8388608 -MaxS 2
    other_stopped = Stop-PreflightListener -Id $started.listener.pid -Started 'another process'
    stopped = Stop-PreflightListener -Id $started.listener.pid -Started $started.listener.started
}
[void](Wait-Process -Id $started.listener.pid -ErrorAction SilentlyContinue)
$told.after = Test-PreflightTarget -Targets $given.targets -Token $given.token -TimeoutS 4
$told | ConvertTo-Json -Depth 8 | Set-Content -LiteralPath $Answer
