# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

# Reads a Windows host for the preflight. Every part is read for itself: what cannot be read is told in 'unreadable', and the
# rest is still there. Nothing is changed.

$script:PowerSleepGuid = '29f6c1db-86da-48c5-9fdb-f2b67b1f44da'
$script:GuardianStore = 'Shielded VM Local Certificates'
$script:OtherAntivirusServices = @{
    CSFalconService = 'CrowdStrike Falcon'
    SAVService = 'Sophos Anti-Virus'
    'Sophos Endpoint Defense Service' = 'Sophos Endpoint'
    ekrn = 'ESET'
    AVP = 'Kaspersky'
    mfemms = 'Trellix (McAfee) Endpoint Security'
    SentinelAgent = 'SentinelOne'
    ds_agent = 'Trend Micro Deep Security'
    bdservicehost = 'Bitdefender'
    SepMasterService = 'Symantec Endpoint Protection'
    WRSVC = 'Webroot'
    CylanceSvc = 'Cylance'
    Sense = 'Microsoft Defender for Endpoint (sensor)'
}

Function Get-PreflightMember {
    # The property's value, or the default where the object has no such property.
    param($InputObject, [string]$Name, $Default = $null)
    if ($null -eq $InputObject) { return $Default }
    $property = $InputObject.PSObject.Properties[$Name]
    if ($null -eq $property -or $null -eq $property.Value) { return $Default }
    return $property.Value
}

Function Get-PreflightRegistry {
    # A value of the registry, or nothing where there is no such key or value.
    param([string]$Path, [string]$Name)
    if (-not (Test-Path -LiteralPath $Path)) { return $null }
    $item = Get-ItemProperty -LiteralPath $Path -ErrorAction SilentlyContinue
    return Get-PreflightMember -InputObject $item -Name $Name
}

Function Get-PreflightSystem {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $system = Get-CimInstance -ClassName Win32_OperatingSystem
    $products = @{ 1 = 'client'; 2 = 'domain_controller'; 3 = 'server' }
    return @{
        name = [string]$system.Caption
        version = [string]$system.Version
        build = [int]$system.BuildNumber
        product = [string]$products[[int]$system.ProductType]
        edition = [string](Get-PreflightRegistry -Path $key -Name 'EditionID')
        release = [string](Get-PreflightRegistry -Path $key -Name 'DisplayVersion')
        machine = [string]$env:PROCESSOR_ARCHITECTURE
    }
}

Function Get-PreflightProcessor {
    $processors = @(Get-CimInstance -ClassName Win32_Processor)
    $first = $processors[0]
    return @{
        vendor = [string]$first.Manufacturer
        model = ([string]$first.Name).Trim()
        signature = [string]$first.Description
        flags = @()
        count = [int]($processors | Measure-Object -Property NumberOfLogicalProcessors -Sum).Sum
    }
}

Function Get-PreflightMemory {
    $system = Get-CimInstance -ClassName Win32_OperatingSystem
    return @{
        total_bytes = [long]$system.TotalVisibleMemorySize * 1KB
        available_bytes = [long]$system.FreePhysicalMemory * 1KB
    }
}

Function Get-PreflightVirtualisation {
    $processor = @(Get-CimInstance -ClassName Win32_Processor)[0]
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    $words = '{0} {1}' -f $computer.Manufacturer, $computer.Model
    $guest = if ($words -match 'Virtual|VMware|QEMU|KVM|Xen|Amazon|Google') { $words.Trim() } else { '' }
    return @{
        hypervisor_present = [bool](Get-PreflightMember -InputObject $computer -Name 'HypervisorPresent' -Default $false)
        firmware_enabled = [bool](Get-PreflightMember -InputObject $processor -Name 'VirtualizationFirmwareEnabled' -Default $false)
        slat = [bool](Get-PreflightMember -InputObject $processor -Name 'SecondLevelAddressTranslationExtensions' -Default $false)
        vm_monitor = [bool](Get-PreflightMember -InputObject $processor -Name 'VMMonitorModeExtensions' -Default $false)
        guest_of = $guest
        hyperv_enabled = $null -ne (Get-Service -Name vmms -ErrorAction SilentlyContinue)
    }
}

Function Get-PreflightAddress {
    $up = @{}
    foreach ($adapter in @(Get-NetAdapter)) { $up[[string]$adapter.Name] = [string]$adapter.Status -eq 'Up' }
    return , @(foreach ($entry in @(Get-NetIPAddress)) {
            $alias = [string]$entry.InterfaceAlias
            @{
                interface = $alias
                address = ([string]$entry.IPAddress).Split('%')[0]
                prefix = [int]$entry.PrefixLength
                up = if ($up.ContainsKey($alias)) { $up[$alias] } else { $true }
            }
        })
}

Function Get-PreflightProfile {
    $byAlias = @{}
    foreach ($entry in @(Get-NetIPAddress)) {
        $alias = [string]$entry.InterfaceAlias
        $byAlias[$alias] = @($byAlias[$alias]) + ([string]$entry.IPAddress).Split('%')[0] | Where-Object { $_ }
    }
    return , @(foreach ($entry in @(Get-NetConnectionProfile)) {
            @{
                interface = [string]$entry.InterfaceAlias
                category = [string]$entry.NetworkCategory
                addresses = @($byAlias[[string]$entry.InterfaceAlias])
            }
        })
}

Function Get-PreflightName {
    $name = [System.Net.Dns]::GetHostName()
    $found = @()
    try {
        $found = @([System.Net.Dns]::GetHostAddresses($name) | ForEach-Object { $_.ToString().Split('%')[0] })
    }
    catch [System.Net.Sockets.SocketException] {
        $found = @()
    }
    return @{ hostname = $name; resolves_to = $found; timed_out = $false }
}

Function Get-PreflightClock {
    $service = Get-Service -Name w32time -ErrorAction SilentlyContinue
    return @{ synchronised = $null -ne $service -and [string]$service.Status -eq 'Running' }
}

Function Get-PreflightPort {
    param([int[]]$Port)
    $listening = @(Get-NetTCPConnection -State Listen | Where-Object { $Port -contains [int]$_.LocalPort })
    return , @(foreach ($entry in $listening) {
            $id = [int]$entry.OwningProcess
            $process = Get-CimInstance -ClassName Win32_Process -Filter "ProcessId = $id"
            $line = [string](Get-PreflightMember -InputObject $process -Name 'CommandLine')
            @{
                port = [int]$entry.LocalPort
                address = [string]$entry.LocalAddress
                pid = $id
                process = [string](Get-PreflightMember -InputObject $process -Name 'Name' -Default '')
                ours = $line -match 'twinhull'
            }
        })
}

Function Get-PreflightWriteCache {
    # 'Turn off Windows write-cache buffer flushing' is CacheIsPowerProtected below the device's own key.
    param([int]$DiskNumber)
    $drive = Get-CimInstance -ClassName Win32_DiskDrive -Filter "Index = $DiskNumber"
    $id = [string](Get-PreflightMember -InputObject $drive -Name 'PNPDeviceID')
    $key = "HKLM:\SYSTEM\CurrentControlSet\Enum\$id\Device Parameters\Disk"
    $set = if ($id) { Get-PreflightRegistry -Path $key -Name 'CacheIsPowerProtected' } else { $null }
    return @{
        disk = [string](Get-PreflightMember -InputObject $drive -Name 'Model' -Default "disk $DiskNumber")
        flush_disabled = $null -ne $set -and [int]$set -eq 1
    }
}

Function Get-PreflightRecordSize {
    # The size of a file record; 0 where it cannot be told. fsutil's words are translated, its order is not: the size of a
    # cluster, that of a record, and how many clusters a record takes follow one another.
    param([string]$Letter, [int]$ClusterBytes)
    $numbers = @(& fsutil.exe fsinfo ntfsinfo "${Letter}:" | ForEach-Object { if ($_ -match ':\s*(\d+)\b(?!\.)') { [long]$Matches[1] } else { -1 } })
    for ($i = 0; $i + 2 -lt $numbers.Count; $i++) {
        $follows = $numbers[$i + 1] -in 1024, 4096 -and $numbers[$i + 2] -ge 0 -and $numbers[$i + 2] -le 8
        if ($numbers[$i] -eq $ClusterBytes -and $follows) { return [int]$numbers[$i + 1] }
    }
    return 0
}

Function Get-PreflightDisk {
    param([string]$Path)
    $facts = @{
        path = $Path; exists = Test-Path -LiteralPath $Path; is_directory = Test-Path -LiteralPath $Path -PathType Container
        kind = 'missing'; file_system = ''; read_only = $false; own_volume = $false
        mount_point = ''; source = ''; total_bytes = 0; free_bytes = 0; cluster_bytes = 0; record_bytes = 0; write_cache = @{}
    }
    $letter = $Path.Substring(0, 1)
    $volume = @(Get-Volume -DriveLetter $letter -ErrorAction SilentlyContinue) | Select-Object -First 1
    if ($null -eq $volume) { return $facts }
    $facts.kind = if ([string]$volume.DriveType -eq 'Network' -or [string]$volume.DriveType -eq 'Remote') { 'network' } else { 'disk' }
    $facts.file_system = [string]$volume.FileSystem
    $facts.mount_point = "${letter}:\"
    $facts.total_bytes = [long]$volume.Size
    $facts.free_bytes = [long]$volume.SizeRemaining
    $facts.cluster_bytes = [int](Get-PreflightMember -InputObject $volume -Name 'AllocationUnitSize' -Default 0)
    if ($facts.file_system -eq 'NTFS' -and $null -ne (Get-Command -Name fsutil.exe -ErrorAction SilentlyContinue)) {
        $facts.record_bytes = Get-PreflightRecordSize -Letter $letter -ClusterBytes $facts.cluster_bytes
    }
    $partition = @(Get-Partition -DriveLetter $letter -ErrorAction SilentlyContinue) | Select-Object -First 1
    if ($null -ne $partition) {
        $disk = Get-Disk -Number ([int]$partition.DiskNumber)
        $facts.source = [string]$disk.FriendlyName
        $facts.read_only = [bool]$disk.IsReadOnly
        $facts.own_volume = ([string]$disk.BusType -eq 'iSCSI') -and ([string]$disk.FriendlyName -match 'twinhull')
        $facts.write_cache = Get-PreflightWriteCache -DiskNumber ([int]$partition.DiskNumber)
    }
    return $facts
}

Function Get-PreflightFolder {
    param([string]$Path)
    $facts = @{
        path = $Path; exists = Test-Path -LiteralPath $Path; is_directory = Test-Path -LiteralPath $Path -PathType Container
        entries = 0; first_entry = ''; mounted = ''; own_volume = $false; symlink_to = ''
    }
    if (-not $facts.is_directory) { return $facts }
    $wanted = $Path.TrimEnd('\') + '\'
    $partition = @(Get-Partition | Where-Object { @($_.AccessPaths) -contains $wanted }) | Select-Object -First 1
    if ($null -ne $partition) {
        $disk = Get-Disk -Number ([int]$partition.DiskNumber)
        $facts.mounted = [string]$disk.FriendlyName
        $facts.own_volume = ([string]$disk.BusType -eq 'iSCSI') -and ([string]$disk.FriendlyName -match 'twinhull')
        return $facts
    }
    $entries = @(Get-ChildItem -LiteralPath $Path -Force)
    $facts.entries = $entries.Count
    if ($entries.Count) { $facts.first_entry = [string]$entries[0].Name }
    return $facts
}

Function Get-PreflightShadow {
    # Volumes by where they are mounted: whose older contents are kept (of), and where (on).
    $mounts = @{}
    foreach ($volume in @(Get-CimInstance -ClassName Win32_Volume)) { $mounts[[string]$volume.DeviceID] = [string]$volume.Name }
    return , @(foreach ($area in @(Get-CimInstance -ClassName Win32_ShadowStorage)) {
            @{ of = [string]$mounts[[string]$area.Volume.DeviceID]; on = [string]$mounts[[string]$area.DiffVolume.DeviceID] }
        })
}

Function Get-PreflightPagingFile {
    return , @(Get-CimInstance -ClassName Win32_PageFileUsage | ForEach-Object { [string]$_.Name })
}

Function Get-PreflightVolume {
    # What a sparse file takes on disk is not asked here: its size bounds it from above.
    param([string]$DataDir)
    $found = @{}
    $root = Join-Path -Path $DataDir -ChildPath 'volumes'
    if (-not (Test-Path -LiteralPath $root)) { return $found }
    foreach ($directory in @(Get-ChildItem -LiteralPath $root -Directory)) {
        $image = Join-Path -Path $directory.FullName -ChildPath 'data.img'
        if (Test-Path -LiteralPath $image) {
            $length = [long](Get-Item -LiteralPath $image).Length
            $found[$directory.Name] = @{ size_bytes = $length; allocated_bytes = $length }
        }
    }
    return $found
}

Function Get-PreflightReboot {
    $reasons = @()
    $servicing = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending'
    $update = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
    $names = 'HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName'
    if (Test-Path -LiteralPath $servicing) { $reasons += 'a Windows component or feature was changed' }
    if (Test-Path -LiteralPath $update) { $reasons += 'an update was installed' }
    $renames = Get-PreflightRegistry -Path 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager' -Name 'PendingFileRenameOperations'
    if ($null -ne $renames -and @($renames | Where-Object { $_ }).Count) { $reasons += 'files wait to be replaced at boot' }
    $active = Get-PreflightRegistry -Path "$names\ActiveComputerName" -Name 'ComputerName'
    $wanted = Get-PreflightRegistry -Path "$names\ComputerName" -Name 'ComputerName'
    if ($active -and $wanted -and $active -ne $wanted) { $reasons += "the computer is to be renamed to $wanted" }
    return , @($reasons)
}

Function Get-PreflightAntivirus {
    $found = @()
    if ($null -ne (Get-Service -Name WinDefend -ErrorAction SilentlyContinue)) {
        $status = Get-MpComputerStatus
        if ([bool](Get-PreflightMember -InputObject $status -Name 'AntivirusEnabled' -Default $false)) {
            $paths = @(Get-PreflightMember -InputObject (Get-MpPreference) -Name 'ExclusionPath' -Default @())
            $found += @{ name = 'Microsoft Defender'; exclusions = $paths; managed = $true }
        }
    }
    foreach ($service in $script:OtherAntivirusServices.GetEnumerator()) {
        $running = Get-Service -Name $service.Key -ErrorAction SilentlyContinue
        if ($null -ne $running -and [string]$running.Status -eq 'Running') {
            $found += @{ name = $service.Value; exclusions = $null; managed = $false }
        }
    }
    return , @($found)
}

Function Get-PreflightAgent {
    param([string]$InstallDir)
    $current = Join-Path -Path $InstallDir -ChildPath 'current'
    $version = ''
    if (Test-Path -LiteralPath $current) {
        $target = @(Get-PreflightMember -InputObject (Get-Item -LiteralPath $current -Force) -Name 'Target' -Default @())
        if ($target.Count -and $target[0]) { $version = Split-Path -Path ([string]$target[0]) -Leaf }
    }
    $service = Get-Service -Name 'twinhull-agent' -ErrorAction SilentlyContinue
    $state = if ($null -eq $service) { '' } elseif ([string]$service.Status -eq 'Running') { 'active' } else { 'inactive' }
    return @{ installed = [bool]$version; version = $version; service = $state }
}

Function Get-PreflightFirewall {
    $enabled = @(Get-NetFirewallProfile | Where-Object { [string]$_.Enabled -eq 'True' })
    return , @(if ($enabled.Count) { 'Windows Firewall' })
}

Function Get-PreflightPower {
    $control = 'HKLM:\SYSTEM\CurrentControlSet\Control'
    $hibernate = Get-PreflightRegistry -Path "$control\Power" -Name 'HibernateEnabled'
    $fast = Get-PreflightRegistry -Path "$control\Session Manager\Power" -Name 'HiberbootEnabled'
    $seconds = 0
    $plan = @(Get-CimInstance -Namespace 'root\cimv2\power' -ClassName Win32_PowerPlan | Where-Object { $_.IsActive })
    if ($plan.Count -and [string]$plan[0].InstanceID -match '\{[0-9a-fA-F-]+\}') {
        $wanted = "*$($Matches[0])\AC\{$($script:PowerSleepGuid)}"
        $indexes = @(Get-CimInstance -Namespace 'root\cimv2\power' -ClassName Win32_PowerSettingDataIndex)
        $index = @($indexes | Where-Object { $_.InstanceID -like $wanted })
        if ($index.Count) { $seconds = [int]$index[0].SettingIndexValue }
    }
    $hibernates = $null -ne $hibernate -and [int]$hibernate -eq 1
    return @{
        sleep = $seconds -gt 0
        sleep_after_s = $seconds
        hibernation = $hibernates
        fast_startup = $hibernates -and $null -ne $fast -and [int]$fast -eq 1
    }
}

Function Get-PreflightAccount {
    $identity = [System.Security.Principal.WindowsIdentity]::GetCurrent()
    $principal = New-Object -TypeName System.Security.Principal.WindowsPrincipal -ArgumentList $identity
    $policy = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
    return @{
        name = [string]$identity.Name
        local = $identity.Name.Split('\')[0] -eq $env:COMPUTERNAME
        builtin_administrator = [string]$identity.User -like '*-500'
        administrator = $principal.IsInRole([System.Security.Principal.WindowsBuiltInRole]::Administrator)
        filter_policy = Get-PreflightRegistry -Path $policy -Name 'LocalAccountTokenFilterPolicy'
    }
}

Function Get-PreflightDrive {
    return , @(Get-Volume | Where-Object { [string]$_.DriveLetter -match '^[A-Za-z]$' } | ForEach-Object { [string]$_.DriveLetter })
}

Function Get-PreflightMachine {
    param([string[]]$Name)
    return , @(foreach ($wanted in $Name) {
            $vm = @(Get-VM -Name $wanted -ErrorAction SilentlyContinue) | Select-Object -First 1
            if ($null -eq $vm) { continue }
            $tpm = [bool](Get-VMSecurity -VM $vm).TpmEnabled
            $guardians = @()
            if ($tpm) { $guardians = Get-PreflightProtector -VM $vm }
            @{
                name = [string]$vm.Name
                type = 'hyperv'
                state = [string]$vm.State
                version = [string]$vm.Version
                memory_bytes = [long]$vm.MemoryStartup
                networks = @(Get-VMNetworkAdapter -VM $vm | ForEach-Object { [string]$_.SwitchName } | Where-Object { $_ } | Sort-Object -Unique)
                tpm = $tpm
                guardians = $guardians
                disks = @(Get-VMHardDiskDrive -VM $vm | ForEach-Object { Get-PreflightDiskFile -Path ([string]$_.Path) })
            }
        })
}

Function Get-PreflightDiskFile {
    param([string]$Path)
    $length = 0
    if ($Path -and (Test-Path -LiteralPath $Path)) { $length = [long](Get-Item -LiteralPath $Path).Length }
    return @{ path = $Path; allocated_bytes = $length }
}

Function Get-PreflightProtector {
    # The thumbprints of the guardians that may open the VM's virtual TPM; nothing where this host cannot tell.
    param($VM)
    if ($null -eq (Get-Command -Name ConvertTo-HgsKeyProtector -ErrorAction SilentlyContinue)) { return $null }
    $protector = ConvertTo-HgsKeyProtector -Bytes (Get-VMKeyProtector -VM $VM)
    $guardians = @(Get-PreflightMember -InputObject $protector -Name 'Owner') + @(Get-PreflightMember -InputObject $protector -Name 'Guardians')
    return , @($guardians | Where-Object { $_ } | ForEach-Object { [string]$_.EncryptionCertificate.Thumbprint } | Sort-Object -Unique)
}

Function Get-PreflightGuardian {
    $store = New-Object -TypeName System.Security.Cryptography.X509Certificates.X509Store -ArgumentList $script:GuardianStore, 'LocalMachine'
    try {
        $store.Open([System.Security.Cryptography.X509Certificates.OpenFlags]'ReadOnly, OpenExistingOnly')
    }
    catch [System.Security.Cryptography.CryptographicException] {
        return , @()
    }
    try {
        return , @(foreach ($certificate in $store.Certificates) {
                @{ name = [string]$certificate.Subject; private_key = [bool]$certificate.HasPrivateKey; thumbprints = @([string]$certificate.Thumbprint) }
            })
    }
    finally {
        $store.Close()
    }
}

Function Get-PreflightHypervisor {
    if ($null -eq (Get-Command -Name Get-VMHost -ErrorAction SilentlyContinue)) {
        return @{ available = $false; installed = $false; vm_versions = @() }
    }
    try {
        $null = Get-VMHost
    }
    catch {
        return @{ available = $false; installed = $true; vm_versions = @(); error = $_.Exception.Message }
    }
    return @{
        available = $true
        installed = $true
        vm_versions = @(Get-VMHostSupportedVersion | ForEach-Object { [string]$_.Version })
    }
}

Function Get-PreflightSwitch {
    return , @(Get-VMSwitch | ForEach-Object { @{ name = [string]$_.Name; type = [string]$_.SwitchType } })
}

Function Read-PreflightPart {
    # The part, or its fallback and one sentence for 'unreadable'.
    param([hashtable]$Facts, [string]$Name, $Fallback, [scriptblock]$Code)
    try {
        $Facts[$Name] = & $Code
    }
    catch {
        $Facts[$Name] = $Fallback
        $Facts.unreadable += @{ part = $Name; error = $_.Exception.Message }
    }
}

Function Get-PreflightFact {
    # All facts of this host; the words are those of the Linux module.
    param([string]$DataDir, [string]$InstallDir, [string[]]$Folders, [int[]]$Ports, [string[]]$Machines)
    $facts = @{
        format = 1; platform = 'windows'; root = $true; unreadable = @(); vms = @(); guardians = @()
        switches = @{ bridges = @(); networks = @() }
        time_epoch_s = [DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds() / 1000
    }
    Read-PreflightPart $facts 'os' @{} { Get-PreflightSystem }
    Read-PreflightPart $facts 'cpu' @{} { Get-PreflightProcessor }
    Read-PreflightPart $facts 'virtualisation' @{} { Get-PreflightVirtualisation }
    Read-PreflightPart $facts 'memory' @{} { Get-PreflightMemory }
    Read-PreflightPart $facts 'addresses' $null { Get-PreflightAddress }
    Read-PreflightPart $facts 'network_profiles' @() { Get-PreflightProfile }
    Read-PreflightPart $facts 'names' @{} { Get-PreflightName }
    Read-PreflightPart $facts 'clock' @{} { Get-PreflightClock }
    Read-PreflightPart $facts 'drives' $null { Get-PreflightDrive }
    Read-PreflightPart $facts 'data_dir' @{} { Get-PreflightDisk -Path $DataDir }
    Read-PreflightPart $facts 'install_dir' @{} { Get-PreflightDisk -Path $InstallDir }
    Read-PreflightPart $facts 'folders' @() { , @($Folders | Where-Object { $_ } | ForEach-Object { Get-PreflightFolder -Path $_ }) }
    Read-PreflightPart $facts 'volumes' @{} { Get-PreflightVolume -DataDir $DataDir }
    Read-PreflightPart $facts 'paging_files' @() { Get-PreflightPagingFile }
    Read-PreflightPart $facts 'shadow_areas' @() { Get-PreflightShadow }
    Read-PreflightPart $facts 'held_ports' @() { Get-PreflightPort -Port $Ports }
    Read-PreflightPart $facts 'firewall' @() { Get-PreflightFirewall }
    Read-PreflightPart $facts 'pending_reboot' @() { Get-PreflightReboot }
    Read-PreflightPart $facts 'antivirus' @() { Get-PreflightAntivirus }
    Read-PreflightPart $facts 'agent' @{} { Get-PreflightAgent -InstallDir $InstallDir }
    Read-PreflightPart $facts 'power' @{} { Get-PreflightPower }
    Read-PreflightPart $facts 'account' @{} { Get-PreflightAccount }
    Read-PreflightPart $facts 'hypervisor' @{} { Get-PreflightHypervisor }
    if ($facts.account.ContainsKey('administrator')) { $facts.root = $facts.account.administrator }
    if ($facts.hypervisor.ContainsKey('available') -and $facts.hypervisor.available) {
        Read-PreflightPart $facts 'vms' @() { Get-PreflightMachine -Name $Machines }
        Read-PreflightPart $facts 'guardians' @() { Get-PreflightGuardian }
        Read-PreflightPart $facts 'switches' $facts.switches { @{ bridges = @(); networks = (Get-PreflightSwitch) } }
    }
    return $facts
}

Export-ModuleMember -Function Get-PreflightFact
