# A pool's settings in front of terraform/bootstrap/, compressed: EC2 takes 16 KB.

locals {
  script = file("${path.module}/../../bootstrap/${local.windows ? "windows.ps1" : "linux.sh"}")
  bare   = join("\n", [for line in split("\n", local.script) : line if !can(regex("^ *#", line))])

  # For what is null, the script has a default.
  b = var.pool.bootstrap
  given = { for key, value in {
    Bucket          = var.bucket
    Architecture    = var.pool.arch
    Version         = local.b.version
    AllowUnverified = local.b.unchecked ? "yes" : ""
    User            = local.b.user
    Sudo            = local.b.sudo ? "yes" : ""
    DockerGroup     = local.b.docker ? "" : "no"
    Work            = local.b.work
    HookStarted     = local.b.started
    HookCompleted   = local.b.completed
    PreInstall      = local.b.pre
    PostInstall     = local.b.post
    ProxyHttp       = local.b.http
    ProxyHttps      = local.b.https
    ProxyNone       = join(",", local.b.none)
    ReportStages    = local.b.stages ? "yes" : ""
    MaxLifetime     = tostring(var.pool.seconds.maxLifetime)
    BootDeadline    = tostring(var.pool.seconds.bootDeadline)
  } : key => value if value != "" && value != null }

  # linux.sh takes MUSTER_HOOK_STARTED, windows.ps1 takes $MusterHookStarted. To PowerShell, typographic quotes are quotes:
  # https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules
  settings = join("\n", [for key, value in local.given : local.windows
    ? "$Muster${key} = '${replace(value, "/(['\u2018\u2019\u201a\u201b])/", "$1$1")}'"
    : "MUSTER_${upper(replace(key, "/([a-z])([A-Z])/", "$${1}_$${2}"))}='${replace(value, "'", "'\\''")}'"
  ])

  # cloud-init unpacks gzip by itself. EC2Launch does not: some lines of PowerShell do it. Always: a second boot has to end the instance.
  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2launch-v2-task-definitions.html
  packed    = base64gzip(local.windows ? "${local.settings}\n${local.bare}" : "#!/bin/sh\n${local.settings}\n${local.bare}")
  user_data = local.windows ? base64encode(local.unpack) : local.packed
  unpack    = <<-EOT
    version: 1.1
    tasks:
    - task: startSsm
    - task: executeScript
      inputs:
      - frequency: always
        type: powershell
        runAs: localSystem
        content: |-
          try {
            $packed = New-Object IO.MemoryStream(,[Convert]::FromBase64String('${local.packed}'))
            $plain = New-Object IO.StreamReader((New-Object IO.Compression.GZipStream($packed, [IO.Compression.CompressionMode]::Decompress)))
            $file = Join-Path $env:TEMP 'muster-boot.ps1'
            [IO.File]::WriteAllText($file, $plain.ReadToEnd(), [Text.Encoding]::UTF8)
            & $file
          } catch {
            # It ends by itself, unless it cannot be read.
            "muster: ended: the boot script cannot be run: $_"
            shutdown.exe /s /f /t 0
          }
  EOT
}
