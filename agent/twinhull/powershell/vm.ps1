# Machines of Hyper-V: finding and describing them. Nothing in this part changes anything.
# States, heartbeats and actions are told by the names of their enumerations, never by localised text.

function Find-Machine {
    # The machine of that identifier, or nothing. A Hyper-V that does not answer is an error, not an absent machine.
    param([string] $Id)
    $found = @(Get-VM -Id $Id -ErrorAction SilentlyContinue)
    if ($found.Count -eq 0) { $found = @(Get-VM | Where-Object { [string] $_.Id -eq $Id }) }
    if ($found.Count -gt 0) { return $found[0] }
}

function Get-Machine {
    param([string] $Id)
    $machine = Find-Machine $Id
    if ($null -eq $machine) { Stop-Twinhull missing "Hyper-V knows no VM with the identifier $Id" }
    return $machine
}

function Test-Within {
    # Whether a path is the folder or lies below it, by text alone.
    param([string] $Path, [string] $Folder)
    $one = $Path.Replace('/', '\').TrimEnd('\')
    $top = $Folder.Replace('/', '\').TrimEnd('\')
    return $one -eq $top -or $one.StartsWith("$top\", [System.StringComparison]::OrdinalIgnoreCase)
}

function ConvertTo-StateTable {
    param($Machine)
    $heartbeat = ''
    if ($null -ne $Machine.Heartbeat) { $heartbeat = [string] $Machine.Heartbeat }
    return @{
        found = $true; id = [string] $Machine.Id; name = [string] $Machine.Name; state = [string] $Machine.State; heartbeat = $heartbeat
        status = [string] $Machine.Status; operational = [string] $Machine.PrimaryOperationalStatus; uptime_s = [double] $Machine.Uptime.TotalSeconds
        configuration = [string] $Machine.ConfigurationLocation
    }
}

function Get-TwinhullVmState {
    # What a machine does now, in as few calls as there can be: it is asked every second.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $machine = Find-Machine $Id
    if ($null -eq $machine) { return @{ found = $false; id = $Id } }
    return ConvertTo-StateTable $machine
}

function Get-TwinhullVmList {
    # Every machine of this host, briefly; with a folder only those whose configuration lies below it.
    [CmdletBinding()]
    param([string] $Folder = '')
    $all = @(Get-VM)
    if ($Folder) { $all = @($all | Where-Object { Test-Within ([string] $_.ConfigurationLocation) $Folder }) }
    return @{ machines = @($all | ForEach-Object { ConvertTo-StateTable $_ }) }
}

function Get-DiskChain {
    # A disk with those that it builds on: { path, type, size_bytes, file_bytes } each. What cannot be read ends the
    # chain with a problem.
    param([string] $Path)
    $chain = New-Object System.Collections.ArrayList
    while ($Path -and $chain.Count -lt 64) {
        $disk = $null
        $problem = ''
        try { $disk = Get-VHD -Path $Path }
        catch { $problem = (ConvertTo-ErrorTable $_).message }
        if ($null -eq $disk) {
            if (-not $problem) { $problem = 'it cannot be read' }
            [void] $chain.Add(@{ path = $Path; type = ''; size_bytes = 0; file_bytes = 0; problem = $problem })
            break
        }
        [void] $chain.Add(@{ path = $Path; type = [string] $disk.VhdType; size_bytes = [long] $disk.Size; file_bytes = [long] $disk.FileSize; problem = '' })
        $Path = [string] $disk.ParentPath
    }
    return , $chain.ToArray()
}

function ConvertTo-DiskTable {
    param($Drive)
    $number = $null
    if ($null -ne $Drive.DiskNumber) { $number = [long] $Drive.DiskNumber }
    $path = [string] $Drive.Path
    $chain = @()
    if ($null -eq $number -and $path) { $chain = Get-DiskChain $path }
    return @{
        path = $path; number = $number; shared = [bool] $Drive.SupportPersistentReservations; chain = $chain
        place = ('{0} {1}:{2}' -f [string] $Drive.ControllerType, $Drive.ControllerNumber, $Drive.ControllerLocation)
    }
}

function Get-Optional {
    # What a cmdlet says that not every edition and version of Windows has.
    param([string] $Command, $Machine)
    if ($null -eq (Get-Command -Name $Command -ErrorAction SilentlyContinue)) { return }
    & $Command -VM $Machine
}

function Get-HostDevice {
    # Devices of this very host that the machine uses, in words.
    param($Machine)
    foreach ($one in @(Get-Optional Get-VMGpuPartitionAdapter $Machine)) { if ($null -ne $one) { 'a partition of a graphics card' } }
    foreach ($one in @(Get-Optional Get-VMAssignableDevice $Machine)) { if ($null -ne $one) { "the device $($one.LocationPath)" } }
    foreach ($one in @(Get-Optional Get-VMRemoteFx3dVideoAdapter $Machine)) { if ($null -ne $one) { 'a RemoteFX adapter' } }
    foreach ($one in @(Get-Optional Get-VMFibreChannelHba $Machine)) { if ($null -ne $one) { 'a Fibre Channel adapter' } }
}

function Get-ProtectorThumbprint {
    # Thumbprints of the encryption certificates that can open a machine's key protector: its owner's and guardians'.
    param($Machine)
    $bytes = [byte[]] @(Get-VMKeyProtector -VM $Machine | ForEach-Object { $_ })
    if ($bytes.Length -le 4) { return }
    if ($null -eq (Get-Command -Name ConvertTo-HgsKeyProtector -ErrorAction SilentlyContinue)) {
        Stop-Twinhull unsupported 'The key protector of the virtual TPM cannot be read: this host has no HgsClient module' 'Install the feature HostGuardian.'
    }
    $protector = ConvertTo-HgsKeyProtector -Bytes $bytes
    foreach ($guardian in @($protector.Owner) + @($protector.Guardians)) {
        if ($null -ne $guardian) { [string] $guardian.EncryptionCertificate.Thumbprint }
    }
}

function Get-TwinhullGuardian {
    # Thumbprints of the encryption certificates of this host's guardians that have both private keys here: the one that
    # signs is a member of the guardian, the one that unlocks is known to the certificate stores alone.
    [CmdletBinding()]
    param()
    if ($null -eq (Get-Command -Name Get-HgsGuardian -ErrorAction SilentlyContinue)) { return @{ thumbprints = @() } }
    $stores = @('Cert:\LocalMachine\Shielded VM Local Certificates', 'Cert:\LocalMachine\My')
    $unlocking = @($stores | ForEach-Object { Get-ChildItem -LiteralPath $_ -ErrorAction SilentlyContinue } |
            Where-Object { $_.HasPrivateKey } | ForEach-Object { [string] $_.Thumbprint })
    $own = @(Get-HgsGuardian | Where-Object { $_.HasPrivateSigningKey -and [string] $_.EncryptionCertificate.Thumbprint -in $unlocking })
    return @{ thumbprints = @($own | ForEach-Object { [string] $_.EncryptionCertificate.Thumbprint }) }
}

function Get-CheckpointTable {
    param($Machine)
    foreach ($one in @(Get-VMSnapshot -VM $Machine)) {
        if ($null -eq $one) { continue }
        @{
            id = [string] $one.Id; name = [string] $one.Name; automatic = [bool] $one.IsAutomaticCheckpoint; state = [string] $one.State
            disks = @($one.HardDrives | Where-Object { $null -ne $_ } | ForEach-Object { ConvertTo-DiskTable $_ })
        }
    }
}

function Get-TwinhullVm {
    # Everything that has to be known of a machine before it is protected, and where all of its files are.
    [CmdletBinding()]
    param([string] $Id = '', [string] $Name = '')
    if ($Id) { $machine = Get-Machine $Id }
    else {
        $found = @(Get-VM | Where-Object { [string] $_.Name -eq $Name })
        if ($found.Count -eq 0) { Stop-Twinhull missing "Hyper-V knows no VM that is called $Name" }
        if ($found.Count -gt 1) { Stop-Twinhull state "$($found.Count) VMs are called $Name" 'Rename the others.' }
        $machine = $found[0]
    }
    $security = Get-VMSecurity -VM $machine
    $floppies = @()
    if ([int] $machine.Generation -eq 1) { $floppies = @(Get-VMFloppyDiskDrive -VM $machine | Where-Object { $null -ne $_ } | ForEach-Object { [string] $_.Path }) }
    $description = @{
        generation = [int] $machine.Generation; version = [string] $machine.Version; processors = [long] $machine.ProcessorCount
        memory_bytes = [long] $machine.MemoryStartup; snapshots = [string] $machine.SnapshotFileLocation; paging = [string] $machine.SmartPagingFilePath
        start_action = [string] $machine.AutomaticStartAction; stop_action = [string] $machine.AutomaticStopAction
        automatic_checkpoints = [bool] $machine.AutomaticCheckpointsEnabled; clustered = [bool] $machine.IsClustered; replication = [string] $machine.ReplicationState
        migration_processor = [bool] (Get-VMProcessor -VM $machine).CompatibilityForMigrationEnabled
        disks = @(Get-VMHardDiskDrive -VM $machine | ForEach-Object { ConvertTo-DiskTable $_ })
        checkpoints = @(Get-CheckpointTable $machine)
        adapters = @(Get-VMNetworkAdapter -VM $machine | Where-Object { $null -ne $_ } | ForEach-Object {
                @{ id = [string] $_.Id; name = [string] $_.Name; switch = [string] $_.SwitchName; mac = [string] $_.MacAddress; dynamic = [bool] $_.DynamicMacAddressEnabled }
            })
        dvds = @(Get-VMDvdDrive -VM $machine | Where-Object { $null -ne $_ } | ForEach-Object { [string] $_.Path })
        floppies = $floppies
        devices = @(Get-HostDevice $machine)
        tpm = [bool] $security.TpmEnabled; shielded = [bool] $security.Shielded
        protectors = @(if ($security.TpmEnabled) { Get-ProtectorThumbprint $machine })
    }
    $now = ConvertTo-StateTable $machine
    foreach ($key in $now.Keys) { $description[$key] = $now[$key] }
    return $description
}

function Get-TwinhullHypervisor {
    # What this host offers a machine.
    [CmdletBinding()]
    param()
    $server = Get-VMHost
    return @{
        name = [string] $server.ComputerName; processors = [long] $server.LogicalProcessorCount; memory_bytes = [long] $server.MemoryCapacity
        versions = @(Get-VMHostSupportedVersion | ForEach-Object { [string] $_.Version })
        switches = @(Get-VMSwitch | ForEach-Object { [string] $_.Name })
        guardians = (Get-TwinhullGuardian).thumbprints
    }
}

function Get-TwinhullManagement {
    # Whether Hyper-V's management service runs: a host that boots starts it after ours.
    [CmdletBinding()]
    param()
    return @{ status = [string] (Get-Service -Name vmms).Status }
}

function Get-TwinhullConfigurationFile {
    # The configurations of machines (not of checkpoints) below a folder: { path, id } each.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Folder)
    if (-not (Test-Path -LiteralPath $Folder)) { return @{ files = @() } }
    $found = @(Get-ChildItem -LiteralPath $Folder -Recurse -File -Filter '*.vmcx' | Where-Object { (Split-Path -Leaf (Split-Path -Parent $_.FullName)) -eq 'Virtual Machines' })
    # built from what was asked for, and not from FullName: the provider may see another root
    return @{ files = @($found | ForEach-Object { @{ path = (Get-PathBelow $Folder $_); id = $_.BaseName.ToLowerInvariant() } }) }
}

function Get-PathBelow {
    # The path of a file below a folder, spelt as the folder is.
    param([string] $Folder, $File)
    $root = (Get-Item -LiteralPath $Folder).FullName
    return $Folder.TrimEnd('\') + '\' + $File.FullName.Substring($root.Length).TrimStart('\', '/').Replace('/', '\')
}

function Get-TwinhullFolderSize {
    # Bytes of all files below a folder: how far a move is.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Folder)
    $total = [long] 0
    if (Test-Path -LiteralPath $Folder) {
        foreach ($file in @(Get-ChildItem -LiteralPath $Folder -Recurse -File -ErrorAction SilentlyContinue)) { $total += [long] $file.Length }
    }
    return @{ bytes = $total }
}

function Get-TwinhullVmProcess {
    # The worker processes of a machine: while one lives, it may still write.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $all = @(Get-CimInstance -ClassName Win32_Process -Filter "Name = 'vmwp.exe'" -Property ProcessId, CommandLine)
    $own = @($all | Where-Object { $null -ne $_ -and ([string] $_.CommandLine).IndexOf($Id, [System.StringComparison]::OrdinalIgnoreCase) -ge 0 })
    return @{ processes = @($own | ForEach-Object { [long] $_.ProcessId }) }
}

function Get-TwinhullVmEnding {
    # Numbers of the latest events that tell how a machine ended, newest first: those of the worker's log that name it.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id, [int] $Count = 5)
    $filter = @{ LogName = 'Microsoft-Windows-Hyper-V-Worker-Admin'; Id = 18502, 18504, 18508, 18510, 18514, 18560, 18590 }
    try { $events = @(Get-WinEvent -FilterHashtable $filter -MaxEvents 200) }
    catch {
        # nothing has happened yet: the identifier is the same in every language
        if ([string] $_.FullyQualifiedErrorId -like 'NoMatchingEventsFound*') { return @{ events = @() } }
        throw
    }
    $own = @($events | Where-Object { ([string] $_.Message).IndexOf($Id, [System.StringComparison]::OrdinalIgnoreCase) -ge 0 } | Select-Object -First $Count)
    return @{ events = @($own | ForEach-Object { [long] $_.Id }) }
}
