# What Terraform builds from the documents. A null is left to the boot script, whose defaults are the manifest's; a test compares them, and
# the two that are written here: the operating system and the architecture.

locals {
  unit = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }

  pools = { for name, d in { for d in local.documents : d.name => d... if d.kind == "RunnerPool" } : name => {
    template = try(coalesce(d[0].doc.spec.instance.launchTemplate), "${var.cluster}-${name}")
    os       = try(coalesce(d[0].doc.spec.instance.os), "linux")
    arch     = try(coalesce(d[0].doc.spec.instance.architecture), "x64")
    types    = try(d[0].doc.spec.instance.types, [])
    subnets  = flatten([for section, fields in d[0].spec : [for key, value in fields : value if key == "subnets"] if section == "instance"])
    bootstrap = {
      version   = try(d[0].doc.spec.bootstrap.version, null)
      unchecked = try(coalesce(d[0].doc.spec.bootstrap.allowUnverified), false)
      user      = try(d[0].doc.spec.bootstrap.user, null)
      sudo      = try(coalesce(d[0].doc.spec.bootstrap.sudo), false)
      docker    = try(coalesce(d[0].doc.spec.bootstrap.dockerGroup), true)
      work      = try(d[0].doc.spec.bootstrap.workDirectory, null)
      started   = try(d[0].doc.spec.bootstrap.hooks.jobStarted, null)
      completed = try(d[0].doc.spec.bootstrap.hooks.jobCompleted, null)
      pre       = try(d[0].doc.spec.bootstrap.preInstall, null)
      post      = try(d[0].doc.spec.bootstrap.postInstall, null)
      http      = try(d[0].doc.spec.bootstrap.proxy.http, null)
      https     = try(d[0].doc.spec.bootstrap.proxy.https, null)
      none      = try(coalescelist(d[0].doc.spec.bootstrap.proxy.none), [])
      stages    = try(coalesce(d[0].doc.spec.bootstrap.reportStages), false)
    }
    seconds = { for field, text in {
      maxLifetime  = try(d[0].doc.spec.runner.maxLifetime, null)
      bootDeadline = try(d[0].doc.spec.runner.bootDeadline, null)
    } : field => try(ceil(regex("^[0-9]+", text) * local.unit[regex("[a-z]+$", text)]), null) }
  } }

  # Which SSM parameters the secrets are in.
  references = flatten([for d in local.documents : concat(
    [for field in ["privateKey", "token"] : { kind = "keys", ref = try(tostring(d.doc.spec[field]), null) } if contains(["GitHubApp", "GitHubToken"], d.kind)],
    [for ref in try(flatten([d.doc.spec.webhookSecrets]), []) : { kind = "webhooks", ref = try(tostring(ref), null) } if contains(["GitHubApp", "GitHubToken"], d.kind)],
    [for ref in [try(tostring(d.doc.spec.listen.adminToken), null)] : { kind = "tokens", ref = ref } if d.kind == "Controller"],
    [for ref in [try(tostring(d.doc.spec.listen.viewToken), null)] : { kind = "views", ref = ref } if d.kind == "Controller"],
  )])
}
