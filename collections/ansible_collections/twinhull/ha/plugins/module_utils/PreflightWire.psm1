# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

# A short-lived listener on one node and measured connections from the other. The protocol is that of preflight_wire.py.

$script:Greeting = 'TWINHULL-PREFLIGHT'
$script:Echoes = 21
$script:ChunkBytes = 65536
$script:StartTimeoutMs = 20000

# Runs in a process of its own, because WinRM ends what a task started in its shell: it gets its work through a named pipe,
# answers there which addresses it could bind, and serves until its time is over or it is ended.
$script:Server = {
    param($Work, $Pipe)
    $ErrorActionPreference = 'Stop'
    $bound = @()
    $servers = New-Object -TypeName System.Collections.ArrayList
    foreach ($entry in $Work.listen) {
        $address = [System.Net.IPAddress]::Parse($entry.address)
        $server = New-Object -TypeName System.Net.Sockets.Socket -ArgumentList $address.AddressFamily, 'Stream', 'Tcp'
        try {
            $server.ExclusiveAddressUse = $true
            $server.Bind((New-Object -TypeName System.Net.IPEndPoint -ArgumentList $address, ([int]$entry.port)))
            $server.Listen(64)
            [void]$servers.Add($server)
            $bound += @{ address = $entry.address; port = [int]$entry.port; bound = $true; error = '' }
        }
        catch {
            $server.Close()
            $bound += @{ address = $entry.address; port = [int]$entry.port; bound = $false; error = $_.Exception.GetBaseException().Message }
        }
    }
    $writer = New-Object -TypeName System.IO.StreamWriter -ArgumentList $Pipe
    $writer.WriteLine((ConvertTo-Json -InputObject @{ bound = $bound } -Depth 4 -Compress))
    $writer.Flush()
    $Pipe.Dispose()

    $buffer = New-Object -TypeName 'System.Byte[]' -ArgumentList 1048576
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    while ($servers.Count -and $clock.Elapsed.TotalSeconds -lt [int]$Work.lifetime_s) {
        $ready = New-Object -TypeName System.Collections.ArrayList -ArgumentList (, $servers)
        [System.Net.Sockets.Socket]::Select($ready, $null, $null, 1000000)
        foreach ($server in $ready) {
            $client = $server.Accept()
            try {
                $client.NoDelay = $true
                $client.ReceiveTimeout = 5000
                $client.SendTimeout = 5000
                $line = ''
                while ($line.Length -lt 256 -and $client.Receive($buffer, 1, 'None') -eq 1 -and $buffer[0] -ne 10) { $line += [char]$buffer[0] }
                if ($line -ceq "TWINHULL-PREFLIGHT $($Work.token) echo") {
                    [void]$client.Send([System.Text.Encoding]::ASCII.GetBytes("OK`n"))
                    while (($count = $client.Receive($buffer)) -gt 0) { [void]$client.Send($buffer, $count, 'None') }
                }
                elseif ($line -ceq "TWINHULL-PREFLIGHT $($Work.token) sink") {
                    [void]$client.Send([System.Text.Encoding]::ASCII.GetBytes("OK`n"))
                    $total = [long]0
                    while (($count = $client.Receive($buffer)) -gt 0) { $total += $count }
                    [void]$client.Send([System.Text.Encoding]::ASCII.GetBytes("$total`n"))
                }
            }
            catch [System.Net.Sockets.SocketException] {
                $line = ''
            }
            finally {
                $client.Close()
            }
        }
    }
}

# Short, because a command line is: it fetches the rest through the pipe.
$script:Bootstrap = @'
$p = New-Object -TypeName System.IO.Pipes.NamedPipeClientStream -ArgumentList '.', '{0}', 'InOut'
$p.Connect({1})
$r = New-Object -TypeName System.IO.StreamReader -ArgumentList $p
$w = $r.ReadLine() | ConvertFrom-Json
& ([scriptblock]::Create($w.script)) $w $p
'@

Function Start-PreflightListener {
    # Starts the listener and waits until it tells what it could bind.
    param($Listen, [string]$Token, [int]$LifetimeS)
    $work = @{ listen = @($Listen); token = $Token; lifetime_s = $LifetimeS; script = $script:Server.ToString() }
    $name = 'twinhull-preflight-{0}' -f [guid]::NewGuid().ToString('N').Substring(0, 12)
    $pipe = New-Object -TypeName System.IO.Pipes.NamedPipeServerStream -ArgumentList $name, 'InOut', 1, 'Byte', 'Asynchronous'
    try {
        $id = Start-PreflightProcess -Script ($script:Bootstrap -f $name, $script:StartTimeoutMs)
        $waiting = $pipe.BeginWaitForConnection($null, $null)
        if (-not $waiting.AsyncWaitHandle.WaitOne($script:StartTimeoutMs)) {
            throw "The listener's process $id did not answer within $($script:StartTimeoutMs / 1000) s."
        }
        $pipe.EndWaitForConnection($waiting)
        $writer = New-Object -TypeName System.IO.StreamWriter -ArgumentList $pipe
        $writer.WriteLine((ConvertTo-Json -InputObject $work -Depth 6 -Compress))
        $writer.Flush()
        $reader = New-Object -TypeName System.IO.StreamReader -ArgumentList $pipe
        $answer = $reader.ReadLine()
    }
    finally {
        $pipe.Dispose()
    }
    if (-not $answer) { throw "The listener's process $id ended before it listened." }
    return @{
        bound = @((ConvertFrom-Json -InputObject $answer).bound)
        listener = @{ pid = $id; started = Get-PreflightStart -Id $id }
    }
}

Function Start-PreflightProcess {
    param([string]$Script)
    $encoded = [Convert]::ToBase64String([System.Text.Encoding]::Unicode.GetBytes($Script))
    $line = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -WindowStyle Hidden -EncodedCommand $encoded"
    $made = Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{ CommandLine = $line }
    if ([int]$made.ReturnValue -ne 0) { throw "Windows did not start the listener's process (Win32_Process.Create gave $($made.ReturnValue))." }
    return [int]$made.ProcessId
}

Function Get-PreflightStart {
    # When this process was started, so that no other process is taken for it; empty when there is none.
    param([int]$Id)
    $process = Get-Process -Id $Id -ErrorAction SilentlyContinue
    if ($null -eq $process) { return '' }
    return $process.StartTime.ToUniversalTime().ToString('o')
}

Function Stop-PreflightListener {
    # Ends the listener; whether it still ran.
    param([int]$Id, [string]$Started)
    if (-not $Id -or -not $Started -or (Get-PreflightStart -Id $Id) -ne $Started) { return $false }
    Stop-Process -Id $Id -Force
    return $true
}

Function Open-PreflightConnection {
    # A connected socket. Throws a SocketException; TimedOut when nobody answered in time.
    param($Target, [double]$TimeoutS)
    $to = [System.Net.IPAddress]::Parse($Target.to)
    $socket = New-Object -TypeName System.Net.Sockets.Socket -ArgumentList $to.AddressFamily, 'Stream', 'Tcp'
    try {
        $socket.NoDelay = $true
        $socket.Bind((New-Object -TypeName System.Net.IPEndPoint -ArgumentList ([System.Net.IPAddress]::Parse($Target.from)), 0))
        $waiting = $socket.BeginConnect($to, [int]$Target.port, $null, $null)
        if (-not $waiting.AsyncWaitHandle.WaitOne([int]($TimeoutS * 1000))) {
            throw (New-Object -TypeName System.Net.Sockets.SocketException -ArgumentList 10060)
        }
        $socket.EndConnect($waiting)
        $socket.ReceiveTimeout = 5000
        $socket.SendTimeout = 5000
        return $socket
    }
    catch {
        $socket.Close()
        throw
    }
}

Function ConvertTo-PreflightOutcome {
    # One word for why a connection failed.
    param($Exception)
    $base = $Exception.GetBaseException()
    if ($base -isnot [System.Net.Sockets.SocketException]) { return 'error' }
    switch ([string]$base.SocketErrorCode) {
        'ConnectionRefused' { return 'refused' }
        'TimedOut' { return 'timeout' }
        'HostUnreachable' { return 'no-route' }
        'NetworkUnreachable' { return 'no-route' }
        'HostDown' { return 'no-route' }
        'AccessDenied' { return 'blocked-here' }
        'AddressNotAvailable' { return 'no-address' }
        'ConnectionReset' { return 'reset' }
    }
    return 'error'
}

Function Copy-PreflightTarget {
    param($Target)
    $copy = @{}
    foreach ($key in $Target.Keys) { $copy[$key] = $Target[$key] }
    return $copy
}

Function Test-PreflightTarget {
    # Tries every target, and measures the round trip where our own listener answers.
    param($Targets, [string]$Token, [double]$TimeoutS)
    return , @(foreach ($target in @($Targets)) {
            $result = Copy-PreflightTarget -Target $target
            $result.error = ''
            try {
                $clock = [System.Diagnostics.Stopwatch]::StartNew()
                $socket = Open-PreflightConnection -Target $target -TimeoutS $TimeoutS
                $result.connect_ms = [math]::Round($clock.Elapsed.TotalMilliseconds, 3)
                $socket.Close()
                $result.outcome = 'connected'
                if ($target.ContainsKey('echo') -and $target.echo) {
                    Measure-PreflightTarget -Result $result -Token $Token -TimeoutS $TimeoutS -Word 'echo' -Code { param($s) Measure-PreflightEcho $s }
                }
            }
            catch {
                $result.outcome = ConvertTo-PreflightOutcome -Exception $_.Exception
                $result.error = $_.Exception.GetBaseException().Message
            }
            $result
        })
}

Function Measure-PreflightBandwidth {
    # Sends to each target's sink, one after the other, until either bound is met.
    param($Targets, [string]$Token, [double]$TimeoutS, [long]$MaxBytes, [double]$MaxS)
    return , @(foreach ($target in @($Targets)) {
            $result = Copy-PreflightTarget -Target $target
            $result.error = ''
            $result.outcome = 'connected'
            try {
                Measure-PreflightTarget -Result $result -Token $Token -TimeoutS $TimeoutS -Word 'sink' -Code {
                    param($s) Send-PreflightData -Socket $s -MaxBytes $MaxBytes -MaxS $MaxS
                }
            }
            catch {
                $result.measured = $false
                $result.outcome = ConvertTo-PreflightOutcome -Exception $_.Exception
                $result.error = $_.Exception.GetBaseException().Message
            }
            $result
        })
}

Function Measure-PreflightTarget {
    # Opens a connection, asks for echo or sink, and adds what the code measured to the result.
    param([hashtable]$Result, [string]$Token, [double]$TimeoutS, [string]$Word, [scriptblock]$Code)
    $socket = Open-PreflightConnection -Target $Result -TimeoutS $TimeoutS
    try {
        [void]$socket.Send([System.Text.Encoding]::ASCII.GetBytes("$($script:Greeting) $Token $Word`n"))
        if ((Read-PreflightLine -Socket $socket) -cne 'OK') {
            $Result.measured = $false
            $Result.error = 'another program answered on this port'
            return
        }
        $measured = & $Code $socket
        foreach ($key in $measured.Keys) { $Result[$key] = $measured[$key] }
        $Result.measured = $true
    }
    finally {
        $socket.Close()
    }
}

Function Read-PreflightLine {
    param($Socket)
    $byte = New-Object -TypeName 'System.Byte[]' -ArgumentList 1
    $line = ''
    while ($line.Length -lt 256 -and $Socket.Receive($byte, 1, 'None') -eq 1 -and $byte[0] -ne 10) { $line += [char]$byte[0] }
    return $line
}

Function Measure-PreflightEcho {
    param($Socket)
    $byte = New-Object -TypeName 'System.Byte[]' -ArgumentList 1
    $times = @(foreach ($round in 1..$script:Echoes) {
            $clock = [System.Diagnostics.Stopwatch]::StartNew()
            [void]$Socket.Send($byte)
            if ($Socket.Receive($byte) -ne 1) { throw (New-Object -TypeName System.Net.Sockets.SocketException -ArgumentList 10054) }
            $clock.Elapsed.TotalMilliseconds
        }) | Sort-Object
    return @{ rtt_ms = [math]::Round($times[[int][math]::Floor($times.Count / 2)], 3); rtt_worst_ms = [math]::Round($times[-1], 3) }
}

Function Send-PreflightData {
    param($Socket, [long]$MaxBytes, [double]$MaxS)
    $chunk = New-Object -TypeName 'System.Byte[]' -ArgumentList $script:ChunkBytes
    (New-Object -TypeName System.Random).NextBytes($chunk)
    $sent = [long]0
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    while ($sent -lt $MaxBytes -and $clock.Elapsed.TotalSeconds -lt $MaxS) {
        $sent += $Socket.Send($chunk, [int][math]::Min($chunk.Length, $MaxBytes - $sent), 'None')
    }
    $Socket.Shutdown('Send')
    # What waits in buffers still has to cross a slow link before the count comes back.
    $Socket.ReceiveTimeout = 30000
    $received = [long](Read-PreflightLine -Socket $Socket)
    $seconds = $clock.Elapsed.TotalSeconds
    return @{ bytes = $received; seconds = [math]::Round($seconds, 6); bytes_per_s = [long]($received / $seconds) }
}

$exported = 'Start-PreflightListener', 'Stop-PreflightListener', 'Test-PreflightTarget', 'Measure-PreflightBandwidth'
Export-ModuleMember -Function $exported
