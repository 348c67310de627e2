output "pools" {
  description = "Pools by name, with their defaults."
  value       = module.documents.pools

  precondition {
    condition     = length(local.problems_at_plan) == 0
    error_message = "The manifests in ${local.from} are not valid:\n${join("\n", local.problems_at_plan)}"
  }
  precondition {
    condition     = length(local.problems_at_plan) > 0 || length(local.problems) == 0
    error_message = "The manifests in ${local.from} are not valid:\n${join("\n", local.problems)}"
  }
}

output "references" {
  description = "SSM parameters that secrets are in: the `keys` (and tokens) and `webhooks` of GitHubApps and GitHubTokens, and the Controller's `tokens`."
  value = { for kind in ["keys", "webhooks", "tokens"] : kind =>
    distinct([for r in module.documents.references : trimprefix(r.ref, "ssm:") if r.kind == kind])
  }
}

output "controller" {
  description = "The spec of the directory's Controller, if it has one."
  value       = try(local.controllers[0].doc.spec, {})
}

output "texts" {
  description = "The other manifests, by file: as they are, or, of a file that holds the Controller or a document that the variables change, without that; and a file for each document of the variables."
  value = merge(
    { for f, text in local.texts : f => contains(local.taken, f)
      ? join("---\n", [for d in local.kept : yamlencode(d.doc) if d.file == f && d.kind != "Controller"])
      : text
    },
    { for d in local.documents : d.file => yamlencode(d.doc) if !contains(local.files, d.file) },
  )
}
