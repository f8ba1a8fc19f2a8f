# The example host of the PowerShell kit, with what the model of tests/standin says: see engine.py for the members.
$behaviours = . $env:STANDIN_BASE
$original = @{
    mpPreference = $behaviours['Get-MpPreference']
    cim = $behaviours['Get-CimInstance']
}

$behaviours['Get-MpPreference'] = {
    param($Bound, $State, $Cmdlet)
    if (-not $State.defenderEnabled) {
        Stop-StandIn -Cmdlet $Cmdlet -Message 'Operation failed with the following error: 0x800106ba' -Id 'HRESULT 0x800106ba' -Category NotSpecified
    }
    & $original.mpPreference $Bound $State $Cmdlet
}.GetNewClosure()

$behaviours['Get-CimInstance'] = {
    param($Bound, $State, $Cmdlet)
    if ($Bound.ClassName -ne 'AntiVirusProduct') { return & $original.cim $Bound $State $Cmdlet }
    if ($State.edition -ne 'Client') {
        Stop-StandIn -Cmdlet $Cmdlet -Message 'Invalid namespace ' -Id 'HRESULT 0x8004100e' -Category MetadataError
    }
    foreach ($name in @($State.antivirus)) {
        New-StandInObject 'Microsoft.Management.Infrastructure.CimInstance#root/SecurityCenter2/AntiVirusProduct' @{ displayName = $name }
    }
}.GetNewClosure()

return $behaviours
