#!powershell

# Copyright: Twinhull contributors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)

#AnsibleRequires -CSharpUtil Ansible.Basic
#AnsibleRequires -PowerShell ansible_collections.twinhull.ha.plugins.module_utils.PreflightFacts

$spec = @{
    options = @{
        data_dir = @{ type = 'str'; default = 'C:\ProgramData\Twinhull\data' }
        install_dir = @{ type = 'str'; default = 'C:\Program Files\Twinhull' }
        folders = @{ type = 'list'; elements = 'str'; default = @() }
        ports = @{ type = 'list'; elements = 'int'; default = @() }
        domains = @{ type = 'list'; elements = 'str'; default = @() }
    }
    supports_check_mode = $true
}
$module = [Ansible.Basic.AnsibleModule]::Create($args, $spec)

$wanted = @{
    DataDir = $module.Params.data_dir
    InstallDir = $module.Params.install_dir
    Folders = @($module.Params.folders)
    Ports = @($module.Params.ports)
    Machines = @($module.Params.domains)
}
$module.Result.ansible_facts = @{ twinhull_preflight = Get-PreflightFact @wanted }
$module.ExitJson()
