# JSON, errors and the dispatch of requests.

# Numbers of Windows errors that mean the same in every language; see ConvertTo-ErrorTable.
$script:CategoryOfNumber = @{
    '80070002' = 'missing'; '80070003' = 'missing'; '80041002' = 'missing'
    '80070005' = 'denied'; '80041003' = 'denied'
    '80070020' = 'busy'; '80070021' = 'busy'; '800700AA' = 'busy'
    '80070027' = 'full'; '80070070' = 'full'; '80070299' = 'full'
    '80070050' = 'exists'; '800700B7' = 'exists'
}
$script:CategoryOfRecord = @{
    ObjectNotFound = 'missing'; PermissionDenied = 'denied'; SecurityError = 'denied'; ResourceBusy = 'busy'
    ResourceExists = 'exists'; OperationTimeout = 'timeout'; NotImplemented = 'unsupported'
}

function Stop-Twinhull {
    # Ends a function with an error of ours. Category: missing, denied, busy, full, exists, incompatible, state,
    # absent (storage is away), unsupported, timeout, failed.
    param([string] $Category, [string] $Message, [string] $Remedy = '')
    $exception = New-Object System.Exception -ArgumentList $Message
    $about = @{ TwinhullCategory = $Category; TwinhullRemedy = $Remedy }
    throw (New-Object System.Management.Automation.ErrorRecord -ArgumentList $exception, "Twinhull.$Category", 'NotSpecified', $about)
}

function Get-ErrorNumber {
    # The number of the Windows error as eight hexadecimal digits: the messages name it in every language, else the
    # exceptions have it. Empty when there is none that says anything.
    param([System.Management.Automation.ErrorRecord] $Record)
    $texts = @($Record.Exception.Message, [string] $Record.FullyQualifiedErrorId)
    foreach ($text in $texts) {
        foreach ($match in [regex]::Matches($text, '0x([0-9A-Fa-f]{8})')) { return $match.Groups[1].Value.ToUpperInvariant() }
    }
    for ($one = $Record.Exception; $null -ne $one; $one = $one.InnerException) {
        $number = '{0:X8}' -f $one.HResult
        if ($script:CategoryOfNumber.ContainsKey($number)) { return $number }
    }
    return ''
}

function ConvertTo-ErrorTable {
    # What an error is in our words: category, message, remedy, and what a developer wants to know.
    param([System.Management.Automation.ErrorRecord] $Record)
    $number = Get-ErrorNumber $Record
    $category = 'failed'
    $remedy = ''
    $id = [string] $Record.FullyQualifiedErrorId
    $target = $Record.TargetObject
    if ($target -is [System.Collections.IDictionary] -and $target.Contains('TwinhullCategory')) {
        $category = $target['TwinhullCategory']
        $remedy = $target['TwinhullRemedy']
    }
    elseif ($Record.Exception -is [System.Management.Automation.CommandNotFoundException]) {
        $category = 'unsupported'
        $remedy = 'Install the Windows feature that brings this command (Hyper-V with its PowerShell module, or iSCSI).'
    }
    elseif ($number -and $script:CategoryOfNumber.ContainsKey($number)) { $category = $script:CategoryOfNumber[$number] }
    elseif ($script:CategoryOfRecord.ContainsKey([string] $Record.CategoryInfo.Category)) {
        $category = $script:CategoryOfRecord[[string] $Record.CategoryInfo.Category]
    }
    $message = ([string] $Record.Exception.Message) -replace '\s+', ' '
    return @{
        category = $category; message = $message.Trim(); remedy = $remedy; id = $id; number = $number
        command = [string] $Record.CategoryInfo.Activity; place = [string] $Record.ScriptStackTrace
    }
}

function ConvertFrom-RequestValue {
    # Strings of a request carry a '=' in front: a name that looks like a date must not become one.
    param($Value)
    if ($Value -is [string]) { return $Value.Substring(1) }
    if ($Value -is [System.Collections.IList]) {
        $list = New-Object System.Collections.ArrayList
        foreach ($item in $Value) { [void] $list.Add((ConvertFrom-RequestValue $item)) }
        return , $list.ToArray()
    }
    if ($Value -is [System.Management.Automation.PSCustomObject]) {
        $table = @{}
        foreach ($property in $Value.PSObject.Properties) { $table[$property.Name] = ConvertFrom-RequestValue $property.Value }
        return $table
    }
    return $Value
}

function Write-JsonText {
    # A string as JSON of ASCII characters alone.
    param([System.Text.StringBuilder] $To, [string] $Text)
    [void] $To.Append('"')
    foreach ($character in $Text.ToCharArray()) {
        $code = [int] $character
        if ($code -eq 34 -or $code -eq 92) { [void] $To.Append('\').Append($character) }
        elseif ($code -lt 32 -or $code -gt 126) { [void] $To.AppendFormat('\u{0:x4}', $code) }
        else { [void] $To.Append($character) }
    }
    [void] $To.Append('"')
}

function Write-Json {
    # Plain values as JSON: ConvertTo-Json differs between versions in depth, dates, enumerations and lists of one.
    param([System.Text.StringBuilder] $To, $Value)
    if ($Value -is [System.Management.Automation.PSObject]) { $Value = $Value.PSObject.BaseObject }
    if ($null -eq $Value) { [void] $To.Append('null') }
    elseif ($Value -is [bool]) { [void] $To.Append($(if ($Value) { 'true' } else { 'false' })) }
    elseif ($Value -is [System.Enum] -or $Value -is [guid] -or $Value -is [version] -or $Value -is [char]) { Write-JsonText $To ([string] $Value) }
    elseif ($Value -is [string]) { Write-JsonText $To $Value }
    elseif ($Value -is [datetime]) { Write-JsonText $To $Value.ToUniversalTime().ToString('o') }
    elseif ($Value -is [timespan]) { [void] $To.Append($Value.TotalSeconds.ToString('R', [System.Globalization.CultureInfo]::InvariantCulture)) }
    elseif ($Value -is [double] -or $Value -is [float]) { [void] $To.Append($Value.ToString('R', [System.Globalization.CultureInfo]::InvariantCulture)) }
    elseif ($Value -is [ValueType]) { [void] $To.Append($Value.ToString([System.Globalization.CultureInfo]::InvariantCulture)) }
    elseif ($Value -is [System.Collections.IDictionary]) {
        $between = '{'
        foreach ($key in @($Value.Keys | Sort-Object)) {
            [void] $To.Append($between)
            Write-JsonText $To ([string] $key)
            [void] $To.Append(':')
            Write-Json $To $Value[$key]
            $between = ','
        }
        [void] $To.Append($(if ($between -eq '{') { '{}' } else { '}' }))
    }
    elseif ($Value -is [System.Collections.IEnumerable]) {
        $between = '['
        foreach ($item in $Value) {
            [void] $To.Append($between)
            Write-Json $To $item
            $between = ','
        }
        [void] $To.Append($(if ($between -eq '[') { '[]' } else { ']' }))
    }
    else { throw "A value of type $($Value.GetType().FullName) cannot be told as JSON." }
}

function ConvertTo-PlainJson {
    param($Value)
    $text = New-Object System.Text.StringBuilder
    Write-Json $text $Value
    return $text.ToString()
}

function Get-HostGreeting {
    # The first frame of a host: which PowerShell this is.
    return ConvertTo-PlainJson @{ ready = $true; version = [string] $PSVersionTable.PSVersion; process = $PID }
}

function Invoke-HostRequest {
    # Answers one request: { id, function, arguments } with { id, value } or { id, error }.
    param([string] $Text)
    $id = 0
    try {
        $request = ConvertFrom-Json -InputObject $Text
        $id = $request.id
        $name = ConvertFrom-RequestValue $request.function
        $arguments = ConvertFrom-RequestValue $request.arguments
        if ($name -notmatch '^[A-Z][a-z]+-Twinhull[A-Za-z]+$' -or -not $MyInvocation.MyCommand.Module.ExportedFunctions.ContainsKey($name)) {
            Stop-Twinhull unsupported "There is no function $name."
        }
        $known = (Get-Command -Name $name).Parameters
        foreach ($key in @($arguments.Keys)) {
            if (-not $known.ContainsKey($key)) { Stop-Twinhull unsupported "$name has no parameter $key." }
        }
        $value = & $name @arguments
        return ConvertTo-PlainJson @{ id = $id; value = $value }
    }
    catch { return ConvertTo-PlainJson @{ id = $id; error = (ConvertTo-ErrorTable $_) } }
}

function Get-TwinhullPing {
    # Gives back what it is told: proves that a host answers, and that text arrives as it was.
    param($Value)
    return @{ value = $Value }
}

function Get-TwinhullProcess {
    # Which process this host is.
    return @{ process = $PID; version = [string] $PSVersionTable.PSVersion }
}
