# Machines of Hyper-V: bringing one into its folder and out of it.

function Move-TwinhullVm {
    # Moves all files of a machine below Target; its identifier stays. Hyper-V switches over when all is copied.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id, [Parameter(Mandatory)] [string] $Target)
    Move-VMStorage -VM (Get-Machine $Id) -DestinationStoragePath $Target -RetainVhdCopiesOnSource
    return Get-TwinhullVmState -Id $Id
}

function Export-TwinhullVm {
    # Writes a copy of the machine into a folder of its name below Target.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Id, [Parameter(Mandatory)] [string] $Target)
    $machine = Get-Machine $Id
    Export-VM -VM $machine -Path $Target
    return Get-TwinhullConfigurationFile -Folder $Target
}

function Restore-TwinhullConfiguration {
    # Puts kept copies back to where they were taken from.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Source, [Parameter(Mandatory)] [string] $Folder)
    $restored = New-Object System.Collections.ArrayList
    foreach ($file in @(Get-ChildItem -LiteralPath $Source -Recurse -File)) {
        $path = Get-PathBelow $Source $file
        $to = $Folder.TrimEnd('\') + $path.Substring($Source.TrimEnd('\').Length)
        if (Test-Path -LiteralPath $to) { continue }
        $parent = $to.Substring(0, $to.LastIndexOf('\'))
        if (-not (Test-Path -LiteralPath $parent)) { [void] (New-Item -ItemType Directory -Path $parent -Force) }
        Copy-Item -LiteralPath $path -Destination $to
        [void] $restored.Add($to)
    }
    return @{ restored = $restored.ToArray() }
}

function Clear-TwinhullMoveTarget {
    # Removes what a move that was cut off left in its target; refused while any machine of this host uses it.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string] $Target)
    foreach ($machine in @(Get-VM)) {
        $paths = @([string] $machine.ConfigurationLocation, [string] $machine.SnapshotFileLocation) + @($machine.HardDrives | ForEach-Object { [string] $_.Path })
        if (@($paths | Where-Object { $_ -and (Test-Within $_ $Target) }).Count -gt 0) { Stop-Twinhull state "The VM $($machine.Name) uses $Target" 'Nothing in it was removed.' }
    }
    if (Test-Path -LiteralPath $Target) { Remove-Item -LiteralPath $Target -Recurse -Force -Confirm:$false }
    return @{ removed = $true }
}

function Get-TwinhullFileStamp {
    # What tells whether files were changed: { path, bytes, changed } of each; bytes is -1 for what is not there.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string[]] $Paths)
    $found = foreach ($path in $Paths) {
        if (Test-Path -LiteralPath $path -PathType Leaf) {
            $file = Get-Item -LiteralPath $path
            @{ path = $path; bytes = [long] $file.Length; changed = [string] $file.LastWriteTimeUtc.Ticks }
        }
        else { @{ path = $path; bytes = -1; changed = '' } }
    }
    return @{ files = @($found) }
}

function Remove-TwinhullFile {
    # Removes files by their full paths, never folders.
    [CmdletBinding()]
    param([Parameter(Mandatory)] [string[]] $Paths)
    $removed = @(foreach ($path in $Paths) {
            if (Test-Path -LiteralPath $path -PathType Leaf) {
                Remove-Item -LiteralPath $path -Force -Confirm:$false
                $path
            }
        })
    return @{ removed = $removed }
}
