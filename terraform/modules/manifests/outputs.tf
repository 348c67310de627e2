output "pools" {
  description = "Pools by name, with their defaults."
  value       = local.settings

  precondition {
    condition     = length(local.problems) == 0
    error_message = "The manifests in ${var.directory} are not valid:\n${join("\n", local.problems)}"
  }
}

output "references" {
  description = "SSM parameters that secrets are in: the GitHubApps' `keys` and `webhooks`, and the Controller's `tokens`."
  value = { for kind in ["keys", "webhooks", "tokens"] : kind =>
    distinct([for r in local.references : trimprefix(r.ref, "ssm:") if r.kind == kind])
  }
}

output "controller" {
  description = "The spec of the directory's Controller, if it has one."
  value       = try(local.controllers[0].doc.spec, {})
}

output "texts" {
  description = "The other manifests, by file: as they are, or, of a file that holds the Controller, without it."
  value = { for f, text in local.texts : f => contains([for d in local.controllers : d.file], f)
    ? join("---\n", [for d in local.known : yamlencode(d.doc) if d.file == f && d.kind != "Controller"])
    : text
  }
}
