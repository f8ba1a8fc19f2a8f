#!powershell

# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

#AnsibleRequires -CSharpUtil Ansible.Basic
#AnsibleRequires -PowerShell ansible_collections.twinhull.ha.plugins.module_utils.PreflightWire

$spec = @{
    options = @{
        state = @{ type = 'str'; choices = 'listening', 'connected', 'measured', 'stopped'; required = $true }
        token = @{ type = 'str'; default = 'preflight'; no_log = $false }
        listen = @{
            type = 'list'; elements = 'dict'; default = @()
            options = @{ address = @{ type = 'str'; required = $true }; port = @{ type = 'int'; required = $true } }
        }
        targets = @{ type = 'list'; elements = 'dict'; default = @() }
        listener = @{ type = 'dict'; default = @{} }
        lifetime_s = @{ type = 'int'; default = 180 }
        timeout_s = @{ type = 'float'; default = 4 }
        max_bytes = @{ type = 'int'; default = 67108864 }
        max_s = @{ type = 'float'; default = 2 }
    }
    supports_check_mode = $true
}
$module = [Ansible.Basic.AnsibleModule]::Create($args, $spec)
$token = $module.Params.token
$timeout = $module.Params.timeout_s

if ($token -notmatch '^[A-Za-z0-9]+$') { $module.FailJson("'token' has to consist of letters and digits.") }

try {
    switch ($module.Params.state) {
        'connected' {
            $module.Result.connections = Test-PreflightTarget -Targets $module.Params.targets -Token $token -TimeoutS $timeout
        }
        'measured' {
            $bounds = @{ MaxBytes = $module.Params.max_bytes; MaxS = $module.Params.max_s }
            $module.Result.connections = Measure-PreflightBandwidth -Targets $module.Params.targets -Token $token -TimeoutS $timeout @bounds
        }
        'stopped' {
            $known = $module.Params.listener
            $id = if ($known.ContainsKey('pid')) { [int]$known.pid } else { 0 }
            $started = if ($known.ContainsKey('started')) { [string]$known.started } else { '' }
            $module.Result.stopped = Stop-PreflightListener -Id $id -Started $started
        }
        'listening' {
            $module.Result.bound = @()
            $module.Result.listener = @{}
            if ($module.Params.listen.Count) {
                $made = Start-PreflightListener -Listen $module.Params.listen -Token $token -LifetimeS $module.Params.lifetime_s
                $module.Result.bound = $made.bound
                $module.Result.listener = $made.listener
            }
        }
    }
}
catch {
    $module.FailJson("The networks between the nodes could not be tried: $($_.Exception.Message)", $_)
}
$module.ExitJson()
