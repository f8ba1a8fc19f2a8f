# The kit's Hyper-V host, with what else the preflight asks of Windows; each part is plain data in the state.
$behaviours = . $env:STANDIN_BASE

$names = @{
    'Get-NetAdapter' = 'adapters'
    'Get-NetIPAddress' = 'ipAddresses'
    'Get-NetConnectionProfile' = 'profiles'
    'Get-NetTCPConnection' = 'connections'
    'Get-NetFirewallProfile' = 'firewallProfiles'
}
foreach ($name in $names.Keys) {
    $key = $names[$name]
    $behaviours[$name] = {
        param($Bound, $State, $Cmdlet)
        foreach ($entry in @($State[$key])) { [pscustomobject]$entry }
    }.GetNewClosure()
}

$behaviours['Get-CimInstance'] = {
    param($Bound, $State, $Cmdlet)
    $entries = @($State.cim[$Bound.ClassName])
    if ($Bound.Filter -match '^(\w+) = (\d+)$') {
        $property, $number = $Matches[1], [int]$Matches[2]
        $entries = @($entries | Where-Object { [int]$_[$property] -eq $number })
    }
    foreach ($entry in $entries) { [pscustomobject]$entry }
}

# The engine is told by another process; the child ends as it would under Windows: on its own.
$behaviours['Invoke-CimMethod'] = {
    param($Bound, $State, $Cmdlet)
    $words = $Bound.Arguments.CommandLine -split ' '
    $child = New-Object -TypeName System.Diagnostics.ProcessStartInfo -ArgumentList $env:PREFLIGHT_POWERSHELL
    $child.Arguments = "-NoProfile -NonInteractive -EncodedCommand $($words[-1])"
    $child.UseShellExecute = $false
    $process = [System.Diagnostics.Process]::Start($child)
    [pscustomobject]@{ ReturnValue = [uint32]0; ProcessId = [uint32]$process.Id }
}

return $behaviours
