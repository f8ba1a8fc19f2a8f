# The module's disk: the iSCSI initiator of Windows, the disk that it brings, its partition, and the folder it is mounted at.
# A disk is ours by its serial number, its bus and its size, all of them; nothing here touches any other.

$script:DiskPatienceSeconds = 30

function Find-OurDisk {
    # Our disk, or nothing. Two disks of the same serial number are an error: nobody could tell which is ours.
    param([string] $Serial, [long] $SizeBytes)
    $found = @(Get-Disk | Where-Object {
            $null -ne $_.SerialNumber -and ([string] $_.SerialNumber).Trim() -eq $Serial -and [string] $_.BusType -eq 'iSCSI' -and -not $_.IsBoot -and -not $_.IsSystem
        })
    if ($found.Count -gt 1) {
        Stop-Twinhull state "$($found.Count) disks have the serial number $Serial" 'Disconnect the one that is not of this module.'
    }
    if ($found.Count -eq 1) {
        if ([long] $found[0].Size -ne $SizeBytes) {
            Stop-Twinhull state "The disk with the serial number $Serial has $($found[0].Size) bytes, not $SizeBytes" 'It is not the disk of this module; nothing was changed.'
        }
        return $found[0]
    }
}

function Get-OurDisk {
    param([string] $Serial, [long] $SizeBytes)
    $disk = Find-OurDisk $Serial $SizeBytes
    if ($null -eq $disk) { Stop-Twinhull absent "The disk with the serial number $Serial is not connected" }
    return $disk
}

function ConvertTo-FolderPath {
    # A folder as access paths are written.
    param([string] $Folder)
    return $Folder.TrimEnd('\') + '\'
}

function Get-DataPartition {
    # The partitions of a disk that hold data; the reserved one of GPT is not among them.
    param($Disk)
    if ($Disk.IsOffline) { return }
    return @(Get-Partition | Where-Object { $_.DiskNumber -eq $Disk.Number -and [string] $_.GptType -ne '{e3c9e316-0b5c-4db8-817d-f92df00215ae}' })
}

function Get-MountedAt {
    # Every partition of this host that is mounted at the folder.
    param([string] $Folder)
    $path = ConvertTo-FolderPath $Folder
    return @(Get-Partition | Where-Object { @($_.AccessPaths) -contains $path })
}

function Get-ModuleSession {
    # Sessions to targets of a module: Prefix is the name that all its targets share, `iqn...:CLUSTER.MODULE`.
    param([string] $Prefix)
    return @(Get-IscsiSession | Where-Object { $_.TargetNodeAddress -eq $Prefix -or ([string] $_.TargetNodeAddress).StartsWith("$Prefix.", [System.StringComparison]::OrdinalIgnoreCase) })
}

function Get-TwinhullDisk {
    # What the host knows of the module's disk: its sessions, the disk, whether it is mounted at the folder.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory)] [string] $Prefix, [Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes,
        [Parameter(Mandatory)] [string] $Folder
    )
    $sessions = @(Get-ModuleSession $Prefix | ForEach-Object { @{ target = [string] $_.TargetNodeAddress; connected = [bool] $_.IsConnected; id = [string] $_.SessionIdentifier } })
    $answer = @{ sessions = $sessions; found = $false; mounted = $false; other = $false }
    $disk = Find-OurDisk $Serial $SizeBytes
    $mounted = @(Get-MountedAt $Folder)
    if ($null -ne $disk) {
        $answer.found = $true
        $answer.number = [int] $disk.Number
        $answer.offline = [bool] $disk.IsOffline
        $answer.readonly = [bool] $disk.IsReadOnly
        $answer.style = [string] $disk.PartitionStyle
        $answer.mounted = -not $disk.IsOffline -and @($mounted | Where-Object { $_.DiskNumber -eq $disk.Number }).Count -gt 0
        $mounted = @($mounted | Where-Object { $_.DiskNumber -ne $disk.Number })
    }
    $answer.other = $mounted.Count -gt 0
    return $answer
}

function Connect-TwinhullDisk {
    # Logs in to the target with one-way CHAP, not persistently, and waits for the disk. The portal is forgotten at once.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory)] [string] $Target, [Parameter(Mandatory)] [string] $Address, [Parameter(Mandatory)] [int] $Port,
        [Parameter(Mandatory)] [string] $User, [Parameter(Mandatory)] [string] $Secret, [Parameter(Mandatory)] [string] $Serial,
        [Parameter(Mandatory)] [long] $SizeBytes
    )
    $service = Get-Service -Name MSiSCSI
    if ([string] $service.Status -ne 'Running') { Start-Service -Name MSiSCSI }
    $chap = @{ AuthenticationType = 'ONEWAYCHAP'; ChapUsername = $User; ChapSecret = $Secret }
    [void] (New-IscsiTargetPortal -TargetPortalAddress $Address -TargetPortalPortNumber $Port @chap)
    try {
        [void] (Connect-IscsiTarget -NodeAddress $Target -TargetPortalAddress $Address -TargetPortalPortNumber $Port -IsPersistent $false -IsMultipathEnabled $false @chap)
    }
    finally {
        Remove-IscsiTargetPortal -TargetPortalAddress $Address -TargetPortalPortNumber $Port -Confirm:$false -ErrorAction SilentlyContinue
    }
    $end = [datetime]::UtcNow.AddSeconds($script:DiskPatienceSeconds)
    do {
        Update-HostStorageCache
        $disk = Find-OurDisk $Serial $SizeBytes
        if ($null -ne $disk) { return @{ number = [int] $disk.Number; offline = [bool] $disk.IsOffline; style = [string] $disk.PartitionStyle } }
        Start-Sleep -Milliseconds 250
    } while ([datetime]::UtcNow -lt $end)
    Stop-Twinhull absent "The disk with the serial number $Serial did not appear within $script:DiskPatienceSeconds s after the login" 'Look at the iSCSI initiator and at Get-Disk.'
}

function Enable-TwinhullDisk {
    # On-line and writable: SAN disks of a server arrive off-line and read-only.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes)
    $disk = Get-OurDisk $Serial $SizeBytes
    if ($disk.IsOffline) { Set-Disk -Number $disk.Number -IsOffline $false }
    $disk = Get-OurDisk $Serial $SizeBytes
    if ($disk.IsReadOnly) { Set-Disk -Number $disk.Number -IsReadOnly $false }
    $disk = Get-OurDisk $Serial $SizeBytes
    if ($disk.IsOffline -or $disk.IsReadOnly) {
        Stop-Twinhull state "Disk $($disk.Number) of the module stays off-line or read-only ($($disk.OfflineReason))" 'Another disk with the same GPT identifiers may be on-line: look at Get-Disk.'
    }
    return @{ number = [int] $disk.Number; style = [string] $disk.PartitionStyle; partitions = @(Get-DataPartition $disk).Count }
}

function Initialize-TwinhullDisk {
    # GPT, one partition, NTFS. Whoever asks has seen that the volume is all zeros; a disk that is not raw is refused here, too.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes, [Parameter(Mandatory)] [string] $Label, [Parameter(Mandatory)] [int] $ClusterBytes)
    $disk = Get-OurDisk $Serial $SizeBytes
    if ([string] $disk.PartitionStyle -ne 'RAW' -or $disk.NumberOfPartitions -gt 0) {
        Stop-Twinhull exists "Disk $($disk.Number) of the module is not blank; nothing was changed"
    }
    Initialize-Disk -Number $disk.Number -PartitionStyle GPT
    $partition = New-Partition -DiskNumber $disk.Number -UseMaximumSize
    [void] (Format-Volume -Partition $partition -FileSystem NTFS -AllocationUnitSize $ClusterBytes -UseLargeFRS -NewFileSystemLabel $Label -Force -Confirm:$false)
    return @{ number = [int] $disk.Number }
}

function Mount-TwinhullDisk {
    # The disk's one NTFS partition at the folder (an empty one of the host's own), without a drive letter.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes, [Parameter(Mandatory)] [string] $Folder)
    $disk = Get-OurDisk $Serial $SizeBytes
    $partitions = @(Get-DataPartition $disk)
    if ($partitions.Count -ne 1) {
        Stop-Twinhull state "Disk $($disk.Number) of the module has $($partitions.Count) partitions, not one; nothing was changed"
    }
    $partition = $partitions[0]
    $volume = @(Get-Volume -Partition $partition)
    if ($volume.Count -ne 1 -or [string] $volume[0].FileSystem -ne 'NTFS') {
        Stop-Twinhull state "Disk $($disk.Number) of the module holds no NTFS; nothing was changed"
    }
    $path = ConvertTo-FolderPath $Folder
    if (@(Get-MountedAt $Folder | Where-Object { $_.DiskNumber -ne $disk.Number }).Count -gt 0) {
        Stop-Twinhull exists "Another disk is mounted at $Folder" 'Take its access path away.'
    }
    Set-Partition -DiskNumber $disk.Number -PartitionNumber $partition.PartitionNumber -NoDefaultDriveLetter $true
    foreach ($other in @($partition.AccessPaths | Where-Object { $_ -and $_ -ne $path -and -not ([string] $_).StartsWith('\\?\') })) {
        Remove-PartitionAccessPath -DiskNumber $disk.Number -PartitionNumber $partition.PartitionNumber -AccessPath $other
    }
    if (@($partition.AccessPaths) -notcontains $path) {
        Add-PartitionAccessPath -DiskNumber $disk.Number -PartitionNumber $partition.PartitionNumber -AccessPath $path
    }
    return @{ number = [int] $disk.Number; volume = [string] $volume[0].UniqueId }
}

function Write-TwinhullDisk {
    # What Windows holds back of the folder's writes goes to the disk.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes)
    $disk = Get-OurDisk $Serial $SizeBytes
    foreach ($partition in @(Get-DataPartition $disk)) {
        foreach ($volume in @(Get-Volume -Partition $partition)) { Write-VolumeCache -Path $volume.Path }
    }
    return @{ number = [int] $disk.Number }
}

function Disconnect-TwinhullDisk {
    # Takes the folder, the disk and every session of the module away, whatever of them there is. Forced: a disk that answers
    # nothing any more is not waited for; its sessions go first.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory)] [string] $Prefix, [Parameter(Mandatory)] [string] $Serial, [Parameter(Mandatory)] [long] $SizeBytes,
        [Parameter(Mandatory)] [string] $Folder, [bool] $Forced = $false
    )
    $freed = New-Object System.Collections.ArrayList
    if (-not $Forced) {
        $disk = Find-OurDisk $Serial $SizeBytes
        $path = ConvertTo-FolderPath $Folder
        if ($null -ne $disk) {
            foreach ($partition in @(Get-DataPartition $disk | Where-Object { @($_.AccessPaths) -contains $path })) {
                Remove-PartitionAccessPath -DiskNumber $disk.Number -PartitionNumber $partition.PartitionNumber -AccessPath $path
                [void] $freed.Add("$Folder is no mount any more")
            }
            if (-not $disk.IsOffline) {
                Set-Disk -Number $disk.Number -IsOffline $true
                [void] $freed.Add("disk $($disk.Number) is off-line")
            }
        }
    }
    foreach ($session in @(Get-ModuleSession $Prefix)) {
        Disconnect-IscsiTarget -SessionIdentifier $session.SessionIdentifier -NodeAddress $session.TargetNodeAddress -Confirm:$false
        [void] $freed.Add("the session to $($session.TargetNodeAddress) is ended")
    }
    $left = @(Get-ModuleSession $Prefix)
    if ($left.Count -gt 0) {
        Stop-Twinhull busy "The session to $($left[0].TargetNodeAddress) does not end" 'Something on this host still uses the disk.'
    }
    return @{ freed = @($freed) }
}
