# A part of our module in tests of the hosts themselves: what a function may do to the process that it runs in.
function Wait-TwinhullTest { param([double] $Seconds) Start-Sleep -Milliseconds (1000 * $Seconds) }
function Exit-TwinhullTest { param([int] $Code) [Environment]::Exit($Code) }
function Write-TwinhullTest { 'printed'; Write-Host 'shown'; return 'returned' }
