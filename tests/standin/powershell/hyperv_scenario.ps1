# The example host of the PowerShell kit, with what our own module asks of Windows beside its cmdlets.
$behaviours = . $env:STANDIN_BASE
return $behaviours
