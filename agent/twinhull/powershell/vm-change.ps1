# Machines of Hyper-V: starting and stopping them, and what they must be set to.

function Start-TwinhullVm {
    # Boots the machine, or lets it go on from its saved state.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    Start-VM -VM (Get-Machine $Id)
    return Get-TwinhullVmState -Id $Id
}

function Stop-TwinhullVm {
    # Pulls the plug.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    Stop-VM -VM (Get-Machine $Id) -TurnOff -Force -Confirm:$false
    return Get-TwinhullVmState -Id $Id
}

function Save-TwinhullVm {
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    Save-VM -VM (Get-Machine $Id)
    return Get-TwinhullVmState -Id $Id
}

function Suspend-TwinhullVm {
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    Suspend-VM -VM (Get-Machine $Id)
    return Get-TwinhullVmState -Id $Id
}

function Resume-TwinhullVm {
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    Resume-VM -VM (Get-Machine $Id)
    return Get-TwinhullVmState -Id $Id
}

function Request-TwinhullVmShutdown {
    # Asks the guest to shut down and returns at once: { code, asked }. Stop-VM waits instead, and with -Force turns a
    # guest off that does not listen. Codes: Msvm_ShutdownComponent.InitiateShutdown.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $found = @(Get-CimInstance -Namespace 'root\virtualization\v2' -ClassName Msvm_ShutdownComponent -Filter "SystemName = '$($Id.ToUpperInvariant())'")
    if ($found.Count -eq 0 -or $null -eq $found[0]) { return @{ asked = $false; code = 32770 } }
    $answer = Invoke-CimMethod -InputObject $found[0] -MethodName InitiateShutdown -Arguments @{ Force = $true; Reason = 'Twinhull stops this machine' }
    $code = [long] $answer.ReturnValue
    return @{ asked = ($code -eq 0 -or $code -eq 4096 -or $code -eq 32782); code = $code }
}

function Remove-TwinhullVmSavedState {
    # Throws the saved memory away: the machine boots cold then.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $machine = Get-Machine $Id
    if ([string] $machine.State -in 'Saved', 'FastSaved', 'SavedCritical', 'FastSavedCritical') { Remove-VMSavedState -VM $machine }
    return Get-TwinhullVmState -Id $Id
}

function Stop-TwinhullVmProcess {
    # Kills the worker processes of a machine that Hyper-V cannot turn off. Nothing of it writes afterwards.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $killed = @((Get-TwinhullVmProcess -Id $Id).processes)
    foreach ($process in $killed) { Stop-Process -Id $process -Force -ErrorAction SilentlyContinue }
    return @{ killed = $killed }
}

function Set-TwinhullVmPolicy {
    # Sees to it that Hyper-V itself neither starts nor saves the machine nor takes checkpoints of it, and that its addresses
    # are its own. Addresses: adapter identifier to the address that it gets when it has a dynamic one (only while it is off).
    # Tells what was not so before.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory)] [string] $Id,
        [string] $StartAction = 'Nothing', [string] $StopAction = 'ShutDown', [bool] $AutomaticCheckpoints = $false,
        [hashtable] $Addresses = @{}, $MigrationProcessor = $null
    )
    $machine = Get-Machine $Id
    $changed = New-Object System.Collections.ArrayList
    if ([string] $machine.AutomaticStartAction -ne $StartAction) {
        Set-VM -VM $machine -AutomaticStartAction $StartAction
        [void] $changed.Add("automatic start action $([string] $machine.AutomaticStartAction)")
    }
    if ([string] $machine.AutomaticStopAction -ne $StopAction) {
        Set-VM -VM $machine -AutomaticStopAction $StopAction
        [void] $changed.Add("automatic stop action $([string] $machine.AutomaticStopAction)")
    }
    if ([bool] $machine.AutomaticCheckpointsEnabled -ne $AutomaticCheckpoints) {
        Set-VM -VM $machine -AutomaticCheckpointsEnabled $AutomaticCheckpoints
        [void] $changed.Add("automatic checkpoints $([string] $machine.AutomaticCheckpointsEnabled)")
    }
    if ([string] $machine.State -eq 'Off') {
        foreach ($adapter in @(Get-VMNetworkAdapter -VM $machine | Where-Object { $null -ne $_ -and $_.DynamicMacAddressEnabled })) {
            $address = [string] $adapter.MacAddress
            if ($address -match '^0*$') { $address = [string] $Addresses[[string] $adapter.Id] }
            if (-not $address) { continue }
            Set-VMNetworkAdapter -VMNetworkAdapter $adapter -StaticMacAddress $address
            [void] $changed.Add("dynamic address of $([string] $adapter.Name), now $address")
        }
        if ($null -ne $MigrationProcessor -and [bool] (Get-VMProcessor -VM $machine).CompatibilityForMigrationEnabled -ne [bool] $MigrationProcessor) {
            Set-VMProcessor -VM $machine -CompatibilityForMigrationEnabled ([bool] $MigrationProcessor)
            [void] $changed.Add("processor compatibility $(-not $MigrationProcessor)")
        }
    }
    return @{ changed = $changed.ToArray() }
}

function Clear-TwinhullVmDrive {
    # Ejects ISO images and floppies, which are files of this host alone; with a folder those within stay.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id, [string] $Folder = '')
    $machine = Get-Machine $Id
    $ejected = New-Object System.Collections.ArrayList
    foreach ($drive in @(Get-VMDvdDrive -VM $machine | Where-Object { $null -ne $_ -and $_.Path })) {
        if ($Folder -and (Test-Within ([string] $drive.Path) $Folder)) { continue }
        [void] $ejected.Add([string] $drive.Path)
        Set-VMDvdDrive -VMDvdDrive $drive -Path $null
    }
    if ([int] $machine.Generation -eq 1) {
        foreach ($drive in @(Get-VMFloppyDiskDrive -VM $machine | Where-Object { $null -ne $_ -and $_.Path })) {
            if ($Folder -and (Test-Within ([string] $drive.Path) $Folder)) { continue }
            [void] $ejected.Add([string] $drive.Path)
            Set-VMFloppyDiskDrive -VMFloppyDiskDrive $drive -Path $null
        }
    }
    return @{ ejected = $ejected.ToArray() }
}
