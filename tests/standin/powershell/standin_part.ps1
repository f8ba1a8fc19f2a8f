# The last part of our module in tests: loads the stand-ins and takes the place of programs and modules that no stand-in has.
# Nothing here may reach a process or a program of the machine that runs the tests.
Import-Module StandIns

function Get-TwinhullTestCall {
    # Runs a cmdlet of the stand-ins for a test: what a person at the host would type.
    [CmdletBinding()]
    param([string] $Command, [hashtable] $Parameters = @{})
    $said = @(& $Command @Parameters)
    if ($said.Count -gt 0 -and $null -ne $said[0] -and $null -ne $said[0].PSObject.Properties['Id']) { return @{ id = [string] $said[0].Id } }
    return @{ id = '' }
}

function Invoke-TwinhullTestHook {
    [CmdletBinding()]
    param([string] $Name, [string] $Argument)
    Invoke-StandInHook $Name $Argument
}

function Stop-Process {
    # The worker process of a machine ends, and the machine with it.
    [CmdletBinding()]
    param([long] $Id, [switch] $Force)
    Edit-StandInState {
        param($State)
        foreach ($vm in @($State.vms.Values)) {
            if (2000000000 + [Convert]::ToInt32("$($vm.Id)".Substring(0, 6), 16) -ne $Id) { continue }
            if ($State.killFails) { continue }
            $vm.State = 'Off'
            $vm.StartedAt = $null
            $vm.WorkerStays = 0
        }
    }.GetNewClosure()
}

function Invoke-Program {
    # icacls: what it is called with is kept, and access below the folder is no longer denied.
    param([string] $Program, [string[]] $Arguments)
    Edit-StandInState {
        param($State)
        $State.programs = @($State.programs) + @(@{ program = $Program; arguments = $Arguments })
        if (-not $State.aclFails) { $State.deniedFiles = @($State.deniedFiles | Where-Object { -not "$_".StartsWith($Arguments[0]) }) }
    }.GetNewClosure()
}

function Get-ChildItem {
    # Certificate stores, which there are on Windows alone; everything else is the engine's. A certificate is named by its
    # thumbprint; in front of one whose private key is elsewhere stands "public ".
    [CmdletBinding()]
    param([Parameter(Position = 0)] [string[]] $Path, [string[]] $LiteralPath, [string] $Filter, [switch] $Recurse, [switch] $File, [switch] $Directory)
    if ("$LiteralPath" -notlike 'Cert:\*') { return Microsoft.PowerShell.Management\Get-ChildItem @PSBoundParameters }
    $box = @{}
    Edit-StandInState { param($State) $box.stores = $State.certificates; $box.guardians = @($State.guardians) }.GetNewClosure()
    $found = if ($null -ne $box.stores) { $box.stores["$LiteralPath"] } elseif ("$LiteralPath" -like '*\Shielded VM*') { $box.guardians }
    if ($null -eq $found) { Write-Error "Cannot find path '$LiteralPath' because it does not exist." -Category ObjectNotFound; return }
    foreach ($one in @($found)) { [pscustomobject]@{ Thumbprint = "$one".Replace('public ', ''); HasPrivateKey = "$one" -notlike 'public *' } }
}

function Get-HgsGuardian {
    $box = @{}
    Edit-StandInState { param($State) $box.thumbprints = @($State.guardians) }.GetNewClosure()
    foreach ($thumbprint in $box.thumbprints) { [pscustomobject]@{ Name = 'Guardian'; HasPrivateSigningKey = $true; EncryptionCertificate = [pscustomobject]@{ Thumbprint = $thumbprint } } }
    [pscustomobject]@{ Name = 'Other'; HasPrivateSigningKey = $false; EncryptionCertificate = [pscustomobject]@{ Thumbprint = 'NOTHERE' } }
}

function ConvertTo-HgsKeyProtector {
    param([byte[]] $Bytes)
    $all = @([Text.Encoding]::ASCII.GetString($Bytes).Split(',') | ForEach-Object { [pscustomobject]@{ EncryptionCertificate = [pscustomobject]@{ Thumbprint = $_ } } })
    return [pscustomobject]@{ Owner = $all[0]; Guardians = @($all | Select-Object -Skip 1) }
}
