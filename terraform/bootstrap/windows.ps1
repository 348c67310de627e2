# Makes an EC2 instance a GitHub Actions runner, watches the runner and ends the instance: the twin of linux.sh, with the same contract.
#
# Terraform puts a pool's settings ($Muster... = '...') in front and lets EC2Launch v2 run the script at each boot, as SYSTEM. The
# script needs Windows Server 2022 or newer with a curl.exe that signs for AWS: `curl.exe --help all | findstr sigv4`. Whatever
# happens, the last line on the console is `muster: ended: REASON`.
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

function Setting($name, $default) {
    $given = Get-Variable -Name $name -ValueOnly -ErrorAction SilentlyContinue
    if ([string]::IsNullOrEmpty($given)) { $given = $default }
    Set-Variable -Scope Script -Name $name -Value $given
}
Setting MusterBucket ''                        # S3 bucket that holds runners/windows-ARCHITECTURE/VERSION.zip
Setting MusterArchitecture 'x64'
Setting MusterVersion 'latest'                 # latest | X.Y.Z
Setting MusterAllowUnverified 'no'             # yes: an archive whose digest nobody tells is installed all the same
Setting MusterUser 'runner'                    # the user that runs the jobs; made if it does not exist
Setting MusterWork '_work'                     # the jobs' directory
Setting MusterHookStarted ''                   # scripts that the runner calls around each job
Setting MusterHookCompleted ''
Setting MusterPreInstall ''                    # PowerShell text; runs before the runner is installed
Setting MusterPostInstall ''                   # PowerShell text; runs after that and before the runner starts
Setting MusterProxyHttp ''
Setting MusterProxyHttps ''
Setting MusterProxyNone ''                     # hosts that need no proxy, with commas between them
Setting MusterMaxLifetime 86400                # the instance ends after so many seconds without a job
Setting MusterBootDeadline 300                 # seconds for the secret and the installation, then for the runner to listen
Setting MusterDeniedDeadline $MusterBootDeadline # seconds in which denials are no failure: IAM may deny a secret that does not exist yet
Setting MusterReportStages 'no'                # yes: in a tag, by one call of ec2:CreateTags
Setting MusterWatch 5                          # seconds between two looks
Setting MusterHome 'C:\actions-runner'         # the folder of the runner
Setting MusterState 'C:\ProgramData\muster'    # our own files
$Imds = 'http://169.254.169.254'
$Releases = 'https://github.com/actions/runner/releases'
# A clock that nobody sets. The time of day jumps while a machine boots.
$script:Clock = [System.Diagnostics.Stopwatch]::StartNew()
function Now { $script:Clock.Elapsed.TotalSeconds }
$script:Began = Now
$script:Stages = @()
$script:Blamed = ''
$script:Token = ''
$script:Metadata = 'not asked'
$script:Doing = 'the start'

# ---------------------------------------------------------------------------------------------------- words and end

# Prints a line on the console (COM1, which EC2 shows) and in EC2Launch's log.
function Say($text) {
    try { Write-Host "muster: $text" } catch { } # the process that reads our output may be gone
    # Only one process at a time may open the port, and EC2Launch uses it, too.
    foreach ($try in 1..10) {
        $port = New-Object System.IO.Ports.SerialPort 'COM1', 115200
        try { $port.WriteTimeout = 2000; $port.Open(); $port.WriteLine("muster: $text"); break }
        catch { Start-Sleep -Milliseconds 200 } finally { $port.Dispose() }
    }
}

function Stage($name) {
    $now = Now
    $script:Stages += @{ Name = $name; At = $now }
    Say ('stage {0} {1:0.000}s' -f $name, ($now - $script:Began))
}

# Ends the script. The reason becomes its last line, cut to a length that fits into a list.
function Leave($reason) {
    $line = ("$reason" -replace '\s+', ' ')
    throw [System.OperationCanceledException]::new($line.Substring(0, [Math]::Min(400, $line.Length)))
}

function Seconds($since) { (Now) - $since }

# Picks the line that names the cause from a program's output. It skips stack frames and lines that every end prints.
function Cause($file) {
    $lines = @(Get-Content $file -ErrorAction SilentlyContinue | Where-Object { $_ -and $_ -notmatch '^\s*($|at |--- End of |Exiting|Restarting|Runner listener exit|\+ |At .*:\d+ char:\d+)' })
    if ($lines.Count -eq 0) { return '' }
    $line = "$($lines[-1])".Trim()
    $line.Substring(0, [Math]::Min(250, $line.Length))
}
function ItSaid($file) { $said = Cause $file; if ($said) { "; it said: $said" } else { '' } }

# Writes the file. After a power cut the file is complete or absent.
function Put($file, $text) {
    $bytes = [System.Text.Encoding]::ASCII.GetBytes("$text")
    $stream = [System.IO.File]::Open("$file.new", 'Create', 'Write')
    try { $stream.Write($bytes, 0, $bytes.Length); $stream.Flush($true) } finally { $stream.Dispose() }
    Move-Item -Force "$file.new" $file
}

# --------------------------------------------------------------------------------------------------------- metadata

# Runs curl.exe, and returns the status and the body. Secrets go in by stdin, as lines of a configuration. (The function is not
# called `Curl`, which is PowerShell 5's own alias.) curl does not ask whether a certificate was revoked, just as curl on Linux does
# not: many subnets have no way to the servers that know, and Schannel waits for them for longer than our time limits.
function Request([string[]]$config, [string[]]$arguments) {
    # `--stderr` in place of a redirection: PowerShell 5 takes a program's output on stderr for an error of its own.
    try { $out = $config | & curl.exe -K '-' -sS --ssl-no-revoke --stderr "$MusterState\errors" -w "`n%{http_code}" @arguments }
    catch [System.Management.Automation.CommandNotFoundException] { throw }
    catch { return @{ Code = 0; Body = ''; Fault = "$_" } } # curl.exe could not be started
    if ($LASTEXITCODE -ne 0) { return @{ Code = 0; Body = ''; Fault = (Cause "$MusterState\errors") } } # an incomplete answer has a status, too
    $lines = @($out)
    if ($lines.Count -eq 0) { return @{ Code = 0; Body = ''; Fault = 'no answer' } }
    $body = if ($lines.Count -gt 1) { $lines[0..($lines.Count - 2)] -join "`n" } else { '' }
    @{ Code = [int]$lines[-1]; Body = $body; Fault = '' }
}

# The answer's status, or why there was no answer.
function Status($answer) { if ($answer.Fault) { "no answer, $($answer.Fault)" } else { "status $($answer.Code)" } }

# Reads a path of the instance's metadata service. $null: the path does not exist, or nobody answers.
function Metadata($path) {
    if (-not $script:Token -or (Seconds $script:TokenAt) -gt 10000) {
        $answer = Request @('header = "X-aws-ec2-metadata-token-ttl-seconds: 21600"') @('--noproxy', '*', '-m', '4', '-X', 'PUT', "$Imds/latest/api/token")
        if ($answer.Code -ne 200) { $script:Metadata = Status $answer; return $null }
        $script:Token = $answer.Body
        $script:TokenAt = Now
    }
    $answer = Request @("header = `"X-aws-ec2-metadata-token: $script:Token`"") @('--noproxy', '*', '-m', '4', "$Imds/latest/$path")
    if ($answer.Code -eq 401) { $script:Token = '' }
    $script:Metadata = Status $answer
    if ($answer.Code -eq 200) { $answer.Body } else { $null }
}

function MustMetadata($path) {
    foreach ($try in 1..8) {
        $value = Metadata $path
        if ($value) { return $value }
        Start-Sleep 1
    }
    Leave "the metadata service does not tell $path ($script:Metadata)"
}

# -------------------------------------------------------------------------------------------------------------- AWS

function Endpoint($service) {
    $domain = if ($script:Region -like 'cn-*') { 'amazonaws.com.cn' } elseif ($script:Region -like 'eusc-*') { 'amazonaws.eu' } else { 'amazonaws.com' }
    "https://$service.$script:Region.$domain"
}

function Aws($service, [string[]]$arguments) {
    $config = @("user = `"$($script:Keys.AccessKeyId):$($script:Keys.SecretAccessKey)`"",
        "header = `"x-amz-security-token: $($script:Keys.Token)`"")
    Request $config (@('--aws-sigv4', "aws:amz:$($script:Region):$service", '--connect-timeout', '3') + $arguments)
}

function Ssm($operation, $request) {
    # The request goes in a file, because PowerShell 5 loses quotes in the arguments of a native command.
    Set-Content -Path "$MusterState\request" -Value ($request | ConvertTo-Json -Compress) -NoNewline -Encoding Ascii
    $answer = Aws 'ssm' @('-m', '10', '-H', "X-Amz-Target: AmazonSSM.$operation", '-H', 'Content-Type: application/x-amz-json-1.1',
        '--data', "@$MusterState\request", "$(Endpoint 'ssm')/")
    $answer.Error = ''
    # A pattern reads this field, because PowerShell 5's ConvertFrom-Json drops `__type` as a word of its own.
    if ($answer.Code -ne 200 -and $answer.Body -match '"__type"\s*:\s*"(?:[^"#]*#)?([^"]*)"') { $answer.Error = $Matches[1] }
    $answer
}

# Waits for the secret that muster stores for this instance, writes it to a file that exists and is protected, and deletes it in SSM.
# Only a process that ends then calls this function: see FetchSecret.
function ReadSecret($name, $file) {
    $pauses = @(1, 2, 4, 5)
    $denied = $null
    for ($try = 0; ; $try++) {
        $answer = Ssm 'GetParameter' @{ Name = $name; WithDecryption = $true }
        if ($answer.Code -eq 200) { break }
        $seen = "$($answer.Error) ($(Status $answer))".Trim()
        if ($answer.Code -eq 403 -or $answer.Error -like 'AccessDenied*') {
            if ($null -eq $denied) { $denied = Now }
            if ((Seconds $denied) -ge $MusterDeniedDeadline) {
                Leave "SSM denies this instance its secret ${name}: $seen; check the instance profile's policy"
            }
        } else { $denied = $null }
        if ((Seconds $script:Began) -ge $MusterBootDeadline) { Leave "no secret $name within $MusterBootDeadline s: $seen" }
        $drain = Metadata 'meta-data/tags/instance/muster:drain'
        if ($null -ne $drain) { Leave "drained before it had a secret: $drain" }
        $pause = $pauses[[Math]::Min($try, 3)]
        Start-Sleep -Milliseconds ($pause * (Get-Random -Minimum 750 -Maximum 1250))
    }
    $value = ($answer.Body | ConvertFrom-Json).Parameter.Value
    if (-not $value) { Leave "the secret $name is empty" }
    Set-Content $file $value -NoNewline
    foreach ($try in 1..3) {
        $answer = Ssm 'DeleteParameter' @{ Name = $name }
        if ($answer.Code -eq 200 -or $answer.Error -eq 'ParameterNotFound') { return }
        if ($answer.Error -like 'AccessDenied*') { break }
        Start-Sleep 2
    }
    Say "the secret $name was not deleted: $($answer.Error) ($(Status $answer))"
}

# Reads the identity of this instance and the keys of its role.
function Identify {
    $identity = (MustMetadata 'dynamic/instance-identity/document') | ConvertFrom-Json
    $script:Id = $identity.instanceId
    $script:Region = $identity.region
    $script:Cluster = MustMetadata 'meta-data/tags/instance/muster:cluster'
    TakeKeys
}

function TakeKeys {
    $role = MustMetadata 'meta-data/iam/security-credentials/'
    $script:Keys = (MustMetadata "meta-data/iam/security-credentials/$role") | ConvertFrom-Json
}

# Lets another process of this script read the secret, and waits for its end. A reusable runner's secret registers further runners, so
# no process that is there while jobs run may hold it.
function FetchSecret {
    & powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $PSCommandPath 'read-secret' "$([int](Seconds $script:Began))"
    if ($LASTEXITCODE -ne 0) { Leave "$(Get-Content "$MusterState\failed" -Raw -ErrorAction SilentlyContinue)" }
    Stage 'secret'
}

# ------------------------------------------------------------------------------------------------------- the runner

function InImage($file) {
    $path = Join-Path $MusterHome $file
    if ((Test-Path "$MusterHome\run.cmd") -and (Test-Path $path)) { "$(Get-Content $path -Raw)".Trim() } else { '' }
}

function Header($name) {
    $line = Get-Content "$MusterState\headers" | Where-Object { $_ -match "^${name}:" } | Select-Object -Last 1
    if ($line) { ($line -split ':', 2)[1].Trim() } else { '' }
}

# Puts the archive's runner in the place of the image's. $false: the archive is corrupt, or cannot be unpacked.
function Install($archive) {
    try { Unpack $archive @args } catch { Missed "$archive cannot be unpacked: $_" }
}

# Notes from which place the runner program could not be loaded, and why. Returns $false.
$script:Why = @()
function Missed($why) {
    $line = $why.Substring(0, [Math]::Min(190, $why.Length))
    $script:Why += $line
    Say $line
    $false
}

function Unpack($archive, $wanted, $version, $etag) {
    $digest = (Get-FileHash -Algorithm SHA256 $archive).Hash.ToLowerInvariant()
    if ($wanted -and $digest -ne $wanted) {
        return Missed "$archive is corrupt: SHA-256 $digest, not $wanted"
    }
    Add-Type -AssemblyName System.IO.Compression.FileSystem
    $new = "$MusterHome.new"
    if (Test-Path $new) { Remove-Item -Recurse -Force $new }
    [System.IO.Compression.ZipFile]::ExtractToDirectory($archive, $new)
    # Without these files, a runner that was replaced only in part does not count as installed.
    Remove-Item "$MusterHome\.muster-version", "$MusterHome\.muster-etag" -ErrorAction SilentlyContinue
    Get-ChildItem $new -Force | ForEach-Object {
        $old = Join-Path $MusterHome $_.Name
        if (Test-Path $old) { Remove-Item -Recurse -Force $old }
        Move-Item $_.FullName $MusterHome
    }
    Remove-Item -Recurse -Force $new, $archive -ErrorAction SilentlyContinue
    Set-Content "$MusterHome\.muster-version" $version
    Set-Content "$MusterHome\.muster-etag" $etag
    $true
}

# The controller names the release that this instance gets, and the SHA-256 of its archive, in a tag. Without the tag (the cache is off),
# the archive in the cache is compared with its own metadata only, which shows corruption but no forger.
$script:Wanted = ''
function NameRelease {
    $tag = 'meta-data/tags/instance/muster:release'
    foreach ($try in 1..8) {
        $said = Metadata $tag
        if ($null -ne $said -or $script:Metadata -eq 'status 404') { break }
        Start-Sleep 1
    }
    if ($null -eq $said -and $script:Metadata -ne 'status 404') { Leave "the metadata service does not tell $tag ($script:Metadata)" }
    if ($said -match '^version=(\d+\.\d+\.\d+),sha256=([0-9a-f]{64})(,.*)?$') {
        $script:MusterVersion = $Matches[1]
        $script:Wanted = $Matches[2]
    } elseif ($said) { Say "the tag muster:release is left aside, because it names no version with a SHA-256: $said" }
}

# Seconds that a download may take.
function Left { [Math]::Max(1, [Math]::Min(600, [int]($MusterBootDeadline - (Seconds $script:Began)))) }

function FromS3 {
    if (-not $MusterBucket) { return $false }
    $path = "runners/windows-$MusterArchitecture/$MusterVersion.zip"
    $host3 = (Endpoint 's3') -replace 'https://', "https://$MusterBucket."
    $arguments = @('--speed-limit', '10000', '--speed-time', '20', '-D', "$MusterState\headers", '-o', "$MusterState\runner.zip",
        '-H', 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    $etag = if ($script:Wanted) { '' } else { InImage '.muster-etag' }
    if ($etag) { $arguments += @('-H', ('If-None-Match: ' + $etag.Replace('"', '\"'))) } # the backslashes keep the quotes, which PowerShell 5 would lose
    foreach ($try in 1..2) {
        Due
        $answer = Aws 's3' (@('-m', "$(Left)") + $arguments + "$host3/$path")
        $code = $answer.Code
        if ($code -eq 304) { return $true }
        if ($code -eq 200) {
            if ($script:Wanted) { return Install "$MusterState\runner.zip" $script:Wanted $MusterVersion (Header 'etag') }
            $wanted = Header 'x-amz-meta-sha256'
            if (-not $wanted) { return Missed "s3://$MusterBucket/$path has no digest in its metadata" }
            return Install "$MusterState\runner.zip" $wanted (Header 'x-amz-meta-version') (Header 'etag')
        }
        if ($code -ge 400 -and $code -lt 500) { break }
        Start-Sleep 1
    }
    Missed "s3://$MusterBucket/$path cannot be had ($(Status $answer))"
}

function FromGitHub {
    $version = $MusterVersion
    if ($version -eq 'latest') {
        $version = (& curl.exe -sS --ssl-no-revoke -o NUL -w '%{redirect_url}' -m 20 --retry 3 "$Releases/latest") -replace '.*/v', ''
        if ($version -notmatch '^\d+\.\d+\.\d+$') { return Missed 'GitHub does not tell its latest release' }
        if ($version -eq (InImage '.muster-version')) { Say "runner $version is in the image"; return $true }
    }
    $archive = "actions-runner-win-$MusterArchitecture-$version.zip"
    $wanted = $script:Wanted
    if (-not $wanted) { try {
        $release = (& curl.exe -fsS --ssl-no-revoke -m 20 --retry 1 "https://api.github.com/repos/actions/runner/releases/tags/v$version") -join "`n" | ConvertFrom-Json
        $wanted = ($release.assets | Where-Object { $_.name -eq $archive }).digest -replace '^sha256:', ''
    } catch { } }
    if (-not $wanted) {
        if ($MusterAllowUnverified -ne 'yes') {
            return Missed "$archive is not installed, because nobody tells its SHA-256: set spec.bucket, or bootstrap.allowUnverified"
        }
        Say "nobody tells the SHA-256 of $archive, and this pool has bootstrap.allowUnverified: taken as it comes"
    }
    foreach ($try in 1..3) {
        Due
        & curl.exe -fsSL --ssl-no-revoke --stderr "$MusterState\errors" -m $(Left) --speed-limit 10000 --speed-time 20 --connect-timeout 10 -o "$MusterState\runner.zip" "$Releases/download/v$version/$archive"
        if ($LASTEXITCODE -eq 0 -and (Install "$MusterState\runner.zip" $wanted $version '')) { return $true }
        Start-Sleep 2
    }
    Missed "$archive cannot be had from GitHub: $(Cause "$MusterState\errors")"
}

# Ends an instance that has no runner yet, if the boot deadline has passed or muster drains the instance.
function Due {
    if ((Seconds $script:Began) -ge $MusterBootDeadline) {
        Leave "$script:Doing was still under way $MusterBootDeadline s after the start, and this pool's bootDeadline leaves no more$(ItSaid "$MusterState\output")"
    }
    $drain = Metadata 'meta-data/tags/instance/muster:drain'
    if ($null -ne $drain) { Leave "drained before it had a runner: $drain" }
}

# Runs the operator's text in a process of its own: the text may `exit`, and shares neither our variables nor our strictness.
# Start-Process is not used, because its ExitCode may be empty in PowerShell 5. The output goes to a file: a program that the text
# leaves running would hold a pipe open.
function Run($what, $text) {
    if (-not $text) { return }
    $script:Doing = $what
    $began = Now
    Set-Content "$MusterState\script.ps1" ("`$ErrorActionPreference = 'Stop'`r`n" + $text + "`r`nif (-not `$?) { exit 1 }") -Encoding UTF8
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = 'cmd.exe'
    $start.Arguments = "/d /c powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$MusterState\script.ps1`" > `"$MusterState\output`" 2>&1"
    $start.UseShellExecute = $false
    $start.RedirectStandardInput = $true
    $child = [System.Diagnostics.Process]::Start($start)
    $child.StandardInput.Close()
    while (-not $child.WaitForExit(5000)) { Due }
    Get-Content "$MusterState\output" -ErrorAction SilentlyContinue | Write-Host
    if ($child.ExitCode -ne 0) { Leave "$what failed with exit code $($child.ExitCode)$(ItSaid "$MusterState\output")" }
    $took = [int](Seconds $began)
    if ($took * 2 -ge $MusterBootDeadline) {
        Say "$what took $took s of the $MusterBootDeadline s that this pool's bootDeadline leaves: make it longer, or put what $what does into the image"
    }
    Remove-Item "$MusterState\output" -ErrorAction SilentlyContinue
}

# Starts Docker, whether the image or preInstall installed it. Not every installation starts Docker, and a job may come as soon as
# the runner listens.
function Start-Docker {
    if (-not (Get-Service docker -ErrorAction SilentlyContinue)) { return }
    try {
        Start-Service docker
        (Get-Service docker).WaitForStatus('Running', [TimeSpan]::FromSeconds([Math]::Min(120, $MusterBootDeadline / 2)))
    } catch { Say "Docker does not start, and jobs that need it will fail: $_" }
}

function Prepare {
    Run 'preInstall' $MusterPreInstall
    $script:Doing = 'the installation'
    NameRelease
    $had = InImage '.muster-version'
    if ($had -and $had -eq $MusterVersion) {
        Say "runner $had is in the image"
    } elseif (-not (FromS3) -and -not (FromGitHub)) {
        if (-not (InImage '.muster-version')) { Leave "no runner: $($script:Why -join '; ')" }
        Say "runner $had of the image must do"
    }
    Stage 'unpacked'
    Run 'postInstall' $MusterPostInstall
    Start-Docker
    Due
}

# Starts the runner as a task of MusterUser, because SYSTEM has no other way to start a process with another user's password. The
# task gets the secret in a file that only MusterUser and administrators may read. A reusable runner is configured by a process of its
# own, which deletes the file and ends. A JIT configuration goes into the listener's environment, and stays there. The task starts the
# listener without run.cmd, which exits with 0 after most failures. The listener's exit code 2 asks for another start, 3 and 4 ask
# for one when an update is done. cmd.exe redirects the output, because PowerShell 5 would write UTF-16.
function Start-Runner {
    $password = [Convert]::ToBase64String((1..24 | ForEach-Object { [byte](Get-Random -Maximum 256) })) + 'aA1!'
    $secure = ConvertTo-SecureString $password -AsPlainText -Force
    if (Get-LocalUser $MusterUser -ErrorAction SilentlyContinue) { Set-LocalUser $MusterUser -Password $secure }
    else { New-LocalUser $MusterUser -Password $secure -PasswordNeverExpires | Out-Null }
    Add-LocalGroupMember -SID 'S-1-5-32-544' -Member $MusterUser -ErrorAction SilentlyContinue
    & icacls.exe $MusterHome /grant "${MusterUser}:(OI)(CI)F" /Q | Out-Null
    $file = "$MusterHome\.muster-secret"
    Set-Content $file '' -NoNewline
    & icacls.exe $file /inheritance:r /grant "${MusterUser}:F" '*S-1-5-18:F' '*S-1-5-32-544:F' /Q | Out-Null
    if ($LASTEXITCODE -ne 0) { Leave "the secret's file cannot be protected (icacls: $LASTEXITCODE)" }
    FetchSecret
    $quote = { "'" + ($args[0] -replace "'", "''") + "'" }
    $script = @"
Set-Location $(& $quote $MusterHome)
function Given(`$name, `$value) { if (`$value) { Set-Item "Env:\`$name" `$value } } # a setting that is empty leaves the image's variable
Given ACTIONS_RUNNER_HOOK_JOB_STARTED $(& $quote $MusterHookStarted)
Given ACTIONS_RUNNER_HOOK_JOB_COMPLETED $(& $quote $MusterHookCompleted)
Given http_proxy $(& $quote $MusterProxyHttp)
Given https_proxy $(& $quote $MusterProxyHttps)
if (`$env:http_proxy -or `$env:https_proxy) { `$env:no_proxy = $(& $quote $env:no_proxy) }
`$env:ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE = '1'
if (`$args -contains 'configure') {
    `$secret = Get-Content -Raw .muster-secret
    if (-not `$secret.StartsWith('{')) { exit 0 }
    Remove-Item .muster-secret
    try { `$s = `$secret | ConvertFrom-Json } catch { 'the secret is no JSON'; exit 1 } # PowerShell's own error would repeat the secret
    `$env:ACTIONS_RUNNER_INPUT_TOKEN = `$s.token
    `$a = @('--unattended', '--replace', '--disableupdate', '--no-default-labels', '--url', `$s.url, '--name', `$s.name, '--labels', (`$s.labels -join ','), '--work', $(& $quote $MusterWork))
    if (`$s.group) { `$a += @('--runnergroup', `$s.group) }
    & .\config.cmd @a
    exit `$LASTEXITCODE
}
`$code = 1
try {
    & powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File .\.muster-run.ps1 configure
    if (`$LASTEXITCODE -ne 0) { throw 'the runner could not be configured' }
    if (Test-Path .muster-secret) { `$env:ACTIONS_RUNNER_INPUT_JITCONFIG = Get-Content -Raw .muster-secret; Remove-Item .muster-secret }
    do {
        & .\bin\Runner.Listener.exe run; `$code = `$LASTEXITCODE
        if (`$code -eq 2) { Start-Sleep 5 }
        if (`$code -in 3, 4) { foreach (`$s in 1..30) { if (Test-Path update.finished) { Remove-Item update.finished; break }; Start-Sleep 1 } }
    } while (`$code -in 2, 3, 4)
} catch { "`$_" }
Set-Content .muster-exited.new `$code
Move-Item -Force .muster-exited.new .muster-exited
"@
    Remove-Item -Force "$MusterHome\.muster-exited" -ErrorAction SilentlyContinue
    Set-Content "$MusterHome\.muster-log" ''
    Set-Content "$MusterHome\.muster-run.ps1" $script
    $run = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$MusterHome\.muster-run.ps1`" >> `"$MusterHome\.muster-log`" 2>&1"
    # These cmdlets do not see our $ErrorActionPreference. Priority 4 is a normal process's; a task's default is lower.
    $must = @{ ErrorAction = 'Stop' }
    $action = New-ScheduledTaskAction -Execute 'cmd.exe' -Argument "/d /c $run" @must
    $settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -Priority 4 @must
    Register-ScheduledTask -TaskName 'muster-runner' -Action $action -Settings $settings -User $MusterUser -Password $password -RunLevel Highest -Force @must | Out-Null
    Start-ScheduledTask -TaskName 'muster-runner' @must
    $script:Started = Now
}

# -------------------------------------------------------------------------------------------------------- the watch

$script:Taken = ''
# Whether a job runs. A job that was just taken has no worker yet. If the job never gets a worker, `Running job` stays the last
# line of the log.
function Busy {
    $last = "$(Get-Content "$MusterHome\.muster-log" -ErrorAction SilentlyContinue | Where-Object { $_ } | Select-Object -Last 1)"
    if ($last -notmatch '^[-0-9: ]+Z: Running job: ') { $script:Taken = '' }
    elseif ($last -cne $script:Taken) { $script:Taken = $last; $script:TakenAt = Now }
    if (Get-Process -Name 'Runner.Worker' -ErrorAction SilentlyContinue) { return $true }
    $script:Taken -and (Seconds $script:TakenAt) -lt 120
}
# Whether the runner is gone: it has left by itself, or it was killed together with the task that would have noted its exit.
function Exited {
    if (Test-Path "$MusterHome\.muster-exited") { return $true }
    if ((Seconds $script:Started) -lt 30 -or (Get-Process -Name 'Runner.Worker', 'Runner.Listener' -ErrorAction SilentlyContinue)) { return $false }
    $task = Get-ScheduledTask -TaskName 'muster-runner' -ErrorAction SilentlyContinue
    -not $task -or "$($task.State)" -notin 'Running', 'Queued'
}
function LastWords { ItSaid "$MusterHome\.muster-log" }

# Ends the instance for this reason, unless it runs a job. A job may come at any moment, so the listener is suspended before the
# last look.
function Drain($why) {
    if (Busy) { return }
    $listeners = @(Get-Process -Name 'Runner.Listener' -ErrorAction SilentlyContinue)
    # The listener may be about to start. It would register, and might take a job.
    if ($listeners.Count -eq 0 -and (Seconds $script:Started) -lt $MusterBootDeadline) { return }
    $listeners | ForEach-Object { if ($_.Handle) { [void][Muster.Native]::NtSuspendProcess($_.Handle) } } # no handle: the listener has just left
    $busy = $true
    try { $busy = Busy } catch { }
    if ($busy) {
        $listeners | ForEach-Object { if ($_.Handle) { [void][Muster.Native]::NtResumeProcess($_.Handle) } }
        return
    }
    $listeners | Stop-Process -Force -ErrorAction SilentlyContinue
    Stop-ScheduledTask -TaskName 'muster-runner' -ErrorAction SilentlyContinue # the task would start another listener
    Leave $(if ($listeners) { "$why; the listener was killed" } else { $why })
}

function TagStages($id) {
    # The times are times of day, by the clock as it is set now.
    $by = [DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds() - (Now) * 1000
    $times = ($script:Stages | ForEach-Object { "$($_.Name)=$([long]($_.At * 1000 + $by))" }) -join ','
    $runs = InImage '.muster-version'
    if ($runs -match '^[0-9.]+$') { $times += ",version=$runs" }
    if ($script:Blamed) { $times += ",$($script:Blamed)=$([DateTimeOffset]::UtcNow.ToUnixTimeMilliseconds())" }
    $answer = Aws 'ec2' @('-m', '10', '--data', 'Action=CreateTags', '--data', 'Version=2016-11-15', '--data', "ResourceId.1=$id",
        '--data', 'Tag.1.Key=muster%3Astages', '--data-urlencode', "Tag.1.Value=$times", "$(Endpoint 'ec2')/")
    if ($answer.Code -ne 200) { Say "the tag muster:stages was refused ($(Status $answer))" }
}

# Whether the machine was at fault at the runner's end: a full disk, or a worker that crashed. The reason of the end says so, and so
# does the tag of the stages, where the pool has it: muster then takes the machine for the cause, if the job was cut short.
function Blame($id) {
    # The listener's console tells a crash of the worker as a job that failed, so its log is read. A job may have put anything there.
    # The names have the time, so the last one is the newest.
    try {
        $newest = Get-ChildItem "$MusterHome\_diag\Runner_*.log" -File | Sort-Object Name | Select-Object -Last 1
        if ($newest -and -not ($newest.Attributes -band [System.IO.FileAttributes]::ReparsePoint)) {
            $stream = [System.IO.File]::Open($newest.FullName, 'Open', 'Read', 'ReadWrite')
            try {
                [void]$stream.Seek([Math]::Max(0, $stream.Length - 1000000), 'Begin')
                $text = [System.IO.StreamReader]::new($stream).ReadToEnd()
            } finally { $stream.Dispose() }
            $last = [regex]::Matches($text, 'Worker finished for job|worker encounter an unhandled exception') | Select-Object -Last 1
            if ($last -and $last.Value -like '*unhandled exception') { $script:Blamed = 'crashed' }
        }
    } catch { } # a log that cannot be read blames nobody
    try {
        $drive = [System.IO.DriveInfo]::new([System.IO.Path]::GetPathRoot($MusterHome))
        if ($drive.AvailableFreeSpace -lt 1048576) { $script:Blamed = 'disk-full' }
    } catch { }
    if (-not $script:Blamed -or $MusterReportStages -ne 'yes') { return }
    # The credentials of the start hold for six hours.
    try { TakeKeys; TagStages $id } catch { Say "the tag muster:stages could not be written: $(Unexpected $_)" }
}

function Watch($id) {
    $idle = $script:Started
    $listening = $false
    $said = ''
    while (-not (Exited) -or (Busy)) {
        if (-not $listening -and (Select-String -Quiet 'Listening for Jobs' "$MusterHome\.muster-log" -ErrorAction SilentlyContinue)) {
            $listening = $true
            Stage 'listener'
            if ($MusterReportStages -eq 'yes') { TagStages $id }
        }
        $why = ''
        $spot = Metadata 'meta-data/spot/instance-action'
        if ($spot) { $why = 'spot takes this instance at ' + ($spot -replace '(?s).*"time"\s*:\s*"([^"]*)".*', '$1') }
        else {
            $drain = Metadata 'meta-data/tags/instance/muster:drain'
            if ($null -ne $drain) { $why = "drained: $drain" }
            elseif (Metadata 'meta-data/events/recommendations/rebalance') { $why = 'spot recommends another instance' }
        }
        if (Busy) {
            $idle = Now
            if ($why -and $why -ne $said) {
                if ($spot) { Say "$why; the job on it will be lost" } else { Say "$why; it waits for the job to end" }
            }
            $said = $why
        } elseif ($why) { Drain $why }
        elseif ((Seconds $idle) -ge $MusterMaxLifetime) { Drain "no job for $MusterMaxLifetime s" }
        elseif (-not $listening -and (Seconds $script:Started) -ge $MusterBootDeadline) {
            Drain "registration failed: the runner does not listen after $MusterBootDeadline s$(LastWords)"
        }
        Start-Sleep $(if ($listening) { $MusterWatch } else { 1 })
    }
    $code = if (Test-Path "$MusterHome\.muster-exited") { [int](Get-Content "$MusterHome\.muster-exited") } else { 1 }
    if (-not $listening) { $listening = [bool](Select-String -Quiet 'Listening for Jobs' "$MusterHome\.muster-log" -ErrorAction SilentlyContinue) }
    # Releases before 2.333 have no exit code of their own for this.
    $old = Select-String -Quiet 'is deprecated and cannot receive messages' "$MusterHome\.muster-log" -ErrorAction SilentlyContinue
    if ($old -or $code -eq 7) {
        Leave "GitHub refuses runner $(InImage '.muster-version') as too old: run ``muster sync``, or write a newer bootstrap.version"
    }
    if (-not $listening) { Leave "registration failed: the runner left with exit code $code before it listened$(LastWords)" }
    Blame $id
    $blamed = if ($script:Blamed) { "; at fault: $($script:Blamed)" } else { '' }
    if ($code -eq 0) { Leave "the runner is done$blamed" }
    Leave "the runner failed with exit code $code$(LastWords)$blamed"
}

# --------------------------------------------------------------------------------------------------------- the whole

# What to say of an error. Do not print every message: ConvertFrom-Json repeats the text that it could not read, and this text may be
# the secret.
function Unexpected($fault) {
    $said = if ("$($fault.FullyQualifiedErrorId)" -like '*ConvertFromJson*') { 'no JSON' } else { "$fault" }
    "an unexpected failure at line $($fault.InvocationInfo.ScriptLineNumber): $said"
}

# The process that reads the secret; see FetchSecret.
if ($args -contains 'read-secret') {
    $reason = ''
    try {
        $script:Began = (Now) - [double]$args[1]
        Identify
        ReadSecret "/muster/$script:Cluster/runners/$script:Id" "$MusterHome\.muster-secret"
    } catch [System.OperationCanceledException] { $reason = $_.Exception.Message }
    catch { $reason = Unexpected $_ }
    if (-not $reason) { exit 0 }
    Set-Content "$MusterState\failed" $reason
    exit 1
}

$reason = 'an unexpected failure'
try {
    Remove-Item -Recurse -Force $MusterState -ErrorAction SilentlyContinue
    New-Item -ItemType Directory -Force $MusterState, $MusterHome | Out-Null
    Stage 'script'
    $curl = "$(& curl.exe --version | Select-Object -First 1)"
    if ($curl -match '^curl (\d+)\.(\d+)' -and [int]$Matches[1] * 1000 + [int]$Matches[2] -lt 7086) {
        Leave "curl $($Matches[1]).$($Matches[2]) of this image is too old: from 7.86 on it can sign with a session token. Take a newer image"
    }
    Add-Type -Namespace Muster -Name Native -MemberDefinition @'
[DllImport("ntdll.dll")] public static extern int NtSuspendProcess(System.IntPtr handle);
[DllImport("ntdll.dll")] public static extern int NtResumeProcess(System.IntPtr handle);
'@
    if ($MusterProxyHttp) { $env:http_proxy = $MusterProxyHttp }
    if ($MusterProxyHttps) { $env:https_proxy = $MusterProxyHttps }
    $env:no_proxy = (@($env:no_proxy, $MusterProxyNone, '169.254.169.254') | Where-Object { $_ }) -join ','
    Identify
    $id = $script:Id
    if ((Test-Path "$MusterHome\.muster-used") -and (Get-Content "$MusterHome\.muster-used") -eq $id) { Leave 'second boot: this instance had its turn' }
    Put "$MusterHome\.muster-used" $id
    $pool = MustMetadata 'meta-data/tags/instance/muster:pool'
    Say "instance $id of pool $pool in cluster $script:Cluster, $script:Region"
    Prepare
    Start-Runner
    Watch $id
} catch [System.OperationCanceledException] {
    $reason = $_.Exception.Message
} catch {
    $reason = Unexpected $_
    # The failure is the script's, not the job's, so a job may finish. If no runner was started, the next line fails at once.
    try { while (-not (Exited) -or (Busy)) { Drain $reason; Start-Sleep 5 } }
    catch [System.OperationCanceledException] { $reason = $_.Exception.Message }
    catch { }
} finally {
    try { Say "ended: $reason" } catch { }
    # The script tries again for ever, in another way from the third time on.
    for ($try = 0; ; $try++) {
        & shutdown.exe $(if ($try -lt 2) { '/s', '/f', '/t', '0' } else { '/p', '/f' })
        $code = $LASTEXITCODE
        if ($code -eq 1190) { & shutdown.exe /a } # cancels another program's shutdown, which is for later
        Start-Sleep $(if ($code -eq 0) { 100 } else { 5 })
    }
}
