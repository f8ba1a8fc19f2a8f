# The example host of the PowerShell kit, with what our own module asks of Windows beside it: worker processes, the guest's
# shutdown by CIM, floppies, processors, devices of the host. Members of a machine that tests may set:
#   WorkerStays   so many looks after its end its worker process still lives
#   ShutdownPolls so many looks a guest takes to shut down; Locked: it refuses to
#   Floppy, Devices, MigrationProcessor
$behaviours = . $env:STANDIN_BASE
$originalCim = $behaviours['Get-CimInstance']
$cimClass = 'Microsoft.Management.Infrastructure.CimInstance'

function Get-WorkerNumber {
    # A number that no process of the test's machine has.
    param($Vm)
    return 2000000000 + [Convert]::ToInt32("$($Vm.Id)".Substring(0, 6), 16)
}

function Update-Shutdown {
    param($State)
    foreach ($vm in @($State.vms.Values | Where-Object { $null -ne $_.ShutdownLeft })) {
        $vm.ShutdownLeft = [int]$vm.ShutdownLeft - 1
        if ([int]$vm.ShutdownLeft -gt 0) { continue }
        $vm.ShutdownLeft = $null
        if ($vm.State -eq 'Running') { Set-VmState $State $vm 'Off' }
    }
}

$behaviours['Get-CimInstance'] = {
    param($Bound, $State, $Cmdlet)
    Update-Shutdown $State
    if ($Bound.ClassName -eq 'Win32_Process') {
        foreach ($vm in @($State.vms.Values)) {
            $lives = $vm.State -notin 'Off', 'Saved'
            if (-not $lives -and [int]$vm.WorkerStays -gt 0) {
                $vm.WorkerStays = [int]$vm.WorkerStays - 1
                $lives = $true
            }
            if ($lives) { New-StandInObject "$cimClass#root/cimv2/Win32_Process", $cimClass ([ordered]@{ ProcessId = [uint32](Get-WorkerNumber $vm); CommandLine = "C:\Windows\System32\vmwp.exe $("$($vm.Id)".ToUpperInvariant())" }) }
        }
        return
    }
    if ($Bound.ClassName -eq 'Msvm_ShutdownComponent') {
        foreach ($vm in @($State.vms.Values | Where-Object { "$($Bound.Filter)" -like "*'$("$($_.Id)".ToUpperInvariant())'*" -and $_.Services['Shutdown'] -and $_.State -eq 'Running' })) {
            New-StandInObject "$cimClass#root/virtualization/v2/Msvm_ShutdownComponent", $cimClass ([ordered]@{ SystemName = "$($vm.Id)".ToUpperInvariant() })
        }
        return
    }
    & $originalCim $Bound $State $Cmdlet
}

$behaviours['Invoke-CimMethod'] = {
    param($Bound, $State, $Cmdlet)
    $vm = $State.vms["$($Bound.InputObject.SystemName)".ToLowerInvariant()]
    $code = if (-not $vm -or $vm.State -ne 'Running') { 32775 }
    elseif ([int]$vm.BootPolls -gt 0 -or $vm.Guest -eq 'hung') { 32780 }
    elseif ($vm.Locked) { 32781 }
    else { 0 }
    if ($code -eq 0) { if ($null -ne $vm.ShutdownLeft) { } elseif ([int]$vm.ShutdownPolls -gt 0) { $vm.ShutdownLeft = [int]$vm.ShutdownPolls } else { Set-VmState $State $vm 'Off' } }
    New-StandInObject "$cimClass#ReturnValue" ([ordered]@{ ReturnValue = [uint32]$code })
}

$behaviours['Get-VMProcessor'] = {
    param($Bound, $State, $Cmdlet)
    foreach ($vm in @(Find-Vm $Bound $State $Cmdlet)) {
        New-StandInObject 'Microsoft.HyperV.PowerShell.VMProcessor' ([ordered]@{ VMId = [guid]$vm.Id; VMName = $vm.Name; Count = [long]$vm.ProcessorCount; CompatibilityForMigrationEnabled = [bool]$vm.MigrationProcessor })
    }
}

$behaviours['Set-VMProcessor'] = {
    param($Bound, $State, $Cmdlet)
    foreach ($vm in @(Find-Vm $Bound $State $Cmdlet)) {
        if (-not (Test-Off $Cmdlet $vm)) { continue }
        if ($Bound.ContainsKey('CompatibilityForMigrationEnabled')) { $vm.MigrationProcessor = [bool]$Bound.CompatibilityForMigrationEnabled }
        Save-VmConfiguration $State $vm
    }
}

$behaviours['Get-VMFloppyDiskDrive'] = {
    param($Bound, $State, $Cmdlet)
    foreach ($vm in @(Find-Vm $Bound $State $Cmdlet | Where-Object { [int]$_.Generation -eq 1 })) {
        New-StandInObject 'Microsoft.HyperV.PowerShell.VMFloppyDiskDrive', 'Microsoft.HyperV.PowerShell.Drive' ([ordered]@{ Path = $vm.Floppy; VMId = [guid]$vm.Id; VMName = $vm.Name; Name = 'Floppy Drive' })
    }
}

$behaviours['Set-VMFloppyDiskDrive'] = {
    param($Bound, $State, $Cmdlet)
    foreach ($drive in @($Bound.VMFloppyDiskDrive)) {
        $vm = Get-OwnerVm $State $Cmdlet $drive.VMId
        $vm.Floppy = if ($Bound.Path) { $Bound.Path }
        Save-VmConfiguration $State $vm
    }
}

function Get-Device {
    param($Bound, $State, $Cmdlet, [string] $Kind)
    foreach ($vm in @(Find-Vm $Bound $State $Cmdlet)) {
        foreach ($device in @($vm.Devices | Where-Object { $_ -and $_.Kind -eq $Kind })) { New-StandInObject "Microsoft.HyperV.PowerShell.$Kind" ([ordered]@{ LocationPath = $device.Path; VMId = [guid]$vm.Id }) }
    }
}

$behaviours['Get-VMGpuPartitionAdapter'] = { param($Bound, $State, $Cmdlet) Get-Device $Bound $State $Cmdlet 'VMGpuPartitionAdapter' }
$behaviours['Get-VMAssignableDevice'] = { param($Bound, $State, $Cmdlet) Get-Device $Bound $State $Cmdlet 'VMAssignedDevice' }
$behaviours['Get-VMRemoteFx3dVideoAdapter'] = { param($Bound, $State, $Cmdlet) Get-Device $Bound $State $Cmdlet 'VMRemoteFx3DVideoAdapter' }
$behaviours['Get-VMFibreChannelHba'] = { param($Bound, $State, $Cmdlet) Get-Device $Bound $State $Cmdlet 'VMFibreChannelHba' }

$behaviours['Get-WinEvent'] = {
    # The log of the worker processes: vms.<id>.Events are numbers, newest first.
    param($Bound, $State, $Cmdlet)
    $wanted = @($Bound.FilterHashtable.Id)
    $found = @(foreach ($vm in @($State.vms.Values)) { foreach ($number in @($vm.Events | Where-Object { $_ -in $wanted })) { New-StandInObject 'System.Diagnostics.Eventing.Reader.EventLogRecord' @{ Id = [int]$number; Message = "'$($vm.Name)' (ID $("$($vm.Id)".ToUpperInvariant()))" } } })
    if (-not $found) { Stop-StandIn -Cmdlet $Cmdlet -Id NoMatchingEventsFound -FullId 'NoMatchingEventsFound,Microsoft.PowerShell.Commands.GetWinEventCommand' -Category ObjectNotFound -Message 'No events were found that match the specified selection criteria.' }
    $found
}

return $behaviours
