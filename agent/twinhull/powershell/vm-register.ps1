# Machines of Hyper-V: making one known to a host where it lies, and making it unknown again.

function Get-SourceKind {
    # What an incompatibility is about: adapter, disk, dvd, checkpoint, vm. By the class, never by localised text.
    param($Source)
    $kinds = @{ VMNetworkAdapter = 'adapter'; HardDiskDrive = 'disk'; DvdDrive = 'dvd'; VMSnapshot = 'checkpoint'; VirtualMachine = 'vm'; VMFloppyDiskDrive = 'floppy' }
    if ($null -eq $Source) { return 'vm' }
    foreach ($name in $Source.PSObject.TypeNames) {
        $short = ([string] $name).Split('.')[-1]
        if ($kinds.ContainsKey($short)) { return $kinds[$short] }
    }
    return 'other'
}

function Get-MemberText {
    param($Object, [string] $Name)
    if ($null -eq $Object -or $null -eq $Object.PSObject.Properties[$Name]) { return '' }
    return [string] $Object.$Name
}

function ConvertTo-IncompatibilityTable {
    param($Report)
    foreach ($one in @($Report.Incompatibilities | Where-Object { $null -ne $_ })) {
        $kind = Get-SourceKind $one.Source
        $what = if ($kind -eq 'adapter') { Get-MemberText $one.Source 'SwitchName' } elseif ($kind -in 'disk', 'dvd', 'floppy') { Get-MemberText $one.Source 'Path' } else { Get-MemberText $one.Source 'Name' }
        @{ kind = $kind; what = $what; number = [long] $one.MessageId; message = ([string] $one.Message -replace '\s+', ' ').Trim(); version = (Get-MemberText $one.Source 'Version') }
    }
}

function Compare-TwinhullVm {
    # What speaks against registering the configuration of that path on this host; nothing is registered.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Path)
    $report = Compare-VM -Path $Path -Register
    return @{ id = [string] $report.VM.Id; name = [string] $report.VM.Name; incompatible = @(ConvertTo-IncompatibilityTable $report) }
}

function Register-TwinhullVm {
    # Registers the machine of a configuration where it lies, keeping its identifier. An image of a DVD drive that is not
    # here is ejected first. With anything else that does not fit nothing is registered, and it is told.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Path)
    $report = Compare-VM -Path $Path -Register
    $repaired = New-Object System.Collections.ArrayList
    foreach ($one in @($report.Incompatibilities | Where-Object { $null -ne $_ })) {
        if ((Get-SourceKind $one.Source) -ne 'dvd') { continue }
        [void] $repaired.Add("ejected $([string] $one.Source.Path)")
        Set-VMDvdDrive -VMDvdDrive $one.Source -Path $null
    }
    if ($repaired.Count -gt 0) { $report = Compare-VM -CompatibilityReport $report }
    $left = @(ConvertTo-IncompatibilityTable $report)
    if ($left.Count -gt 0) { return @{ registered = $false; id = [string] $report.VM.Id; repaired = $repaired.ToArray(); incompatible = $left } }
    $machine = Import-VM -CompatibilityReport $report
    return @{ registered = $true; id = [string] $machine.Id; repaired = $repaired.ToArray(); incompatible = @() }
}

function Copy-TwinhullConfiguration {
    # Copies what Remove-VM deletes, out of the folder: configurations and guest state of the machine and its checkpoints.
    # Disks are not among it, and no file of more than LimitBytes (a saved memory).
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Folder, [Parameter(Mandatory)] [string] $Target, [long] $LimitBytes = 67108864)
    $copied = New-Object System.Collections.ArrayList
    $skipped = New-Object System.Collections.ArrayList
    if (-not (Test-Path -LiteralPath $Folder)) { return @{ copied = @(); skipped = @() } }
    $wanted = '.vmcx', '.vmrs', '.vmgs', '.xml', '.bin', '.vsv'
    foreach ($file in @(Get-ChildItem -LiteralPath $Folder -Recurse -File | Where-Object { $_.Extension -in $wanted })) {
        $path = Get-PathBelow $Folder $file
        if ([long] $file.Length -gt $LimitBytes) { [void] $skipped.Add($path); continue }
        $to = $Target.TrimEnd('\') + $path.Substring($Folder.TrimEnd('\').Length)
        $parent = $to.Substring(0, $to.LastIndexOf('\'))
        if (-not (Test-Path -LiteralPath $parent)) { [void] (New-Item -ItemType Directory -Path $parent -Force) }
        Copy-Item -LiteralPath $path -Destination $to -Force
        [void] $copied.Add($path)
    }
    return @{ copied = $copied.ToArray(); skipped = $skipped.ToArray() }
}

function Limit-TwinhullKeptCopy {
    # Keeps only the newest folders below Target, whose names sort by age.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Target, [int] $Count = 5)
    if (-not (Test-Path -LiteralPath $Target)) { return @{ removed = @() } }
    $old = @(Get-ChildItem -LiteralPath $Target -Directory | Sort-Object -Property Name -Descending | Select-Object -Skip $Count)
    foreach ($one in $old) { Remove-Item -LiteralPath ($Target.TrimEnd('\') + '\' + $one.Name) -Recurse -Force -Confirm:$false }
    return @{ removed = @($old | ForEach-Object { $_.Name }) }
}

function Remove-TwinhullVm {
    # Removes the registration. Where Hyper-V can reach the machine's files, this DELETES the configuration and MERGES the
    # checkpoints: the caller makes sure that no write reaches the volume (its export is in discard mode, or detached).
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id)
    $machine = Find-Machine $Id
    if ($null -ne $machine) { Remove-VM -VM $machine -Force -Confirm:$false }
    return Get-TwinhullVmState -Id $Id
}

function Restart-TwinhullManagement {
    # Restarts Hyper-V's management service; machines that run have processes of their own and run on.
    [CmdletBinding()]
    param()
    Restart-Service -Name vmms -Force
    return @{ status = [string] (Get-Service -Name vmms).Status }
}

function Get-VmAccount {
    # The security identifier of a machine's own account (S-1-5-83-1 and the four numbers of its identifier).
    param([string] $Id)
    $bytes = ([guid] $Id).ToByteArray()
    $parts = 0..3 | ForEach-Object { [System.BitConverter]::ToUInt32($bytes, 4 * $_) }
    return 'S-1-5-83-1-' + ($parts -join '-')
}

function Invoke-Program {
    # Runs a program of Windows with its arguments as they are, and ends with an error unless it returns 0.
    param([string] $Program, [string[]] $Arguments)
    $said = & $Program @Arguments 2>&1 | ForEach-Object { [string] $_ }
    if ($LASTEXITCODE -ne 0) { Stop-Twinhull denied "$Program ended with $LASTEXITCODE`: $(@($said) -join ' ')" }
}

function Grant-TwinhullVmAccess {
    # Gives the machine's own account, and Hyper-V's service, full access to the folder with all that is in it.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id, [Parameter(Mandatory)] [string] $Folder)
    $account = Get-VmAccount $Id
    Invoke-Program "$env:SystemRoot\System32\icacls.exe" @($Folder, '/grant', "*${account}:(OI)(CI)(F)", '/grant', '*S-1-5-18:(OI)(CI)(F)', '/T', '/C', '/Q')
    return @{ account = $account }
}
