# A pool's settings with their defaults (those of reconciler/src/manifest/mod.rs that matter here), and what contradicts
# itself in one (reconciler/src/manifest/validate/).

locals {
  unit    = { ms = 0.001, s = 1, m = 60, h = 3600, d = 86400 }
  by_name = { for d in local.pools : d.name => d... }
  # For unsound documents, too: a pool's name is known when some of its values are not yet, and then soundness is not.
  settings = { for name, d in { for name, same in local.by_name : name => same[0] } : name => {
    at         = d.at
    app        = try(coalesce(d.doc.spec.github.app), "")
    token      = try(coalesce(d.doc.spec.github.token), "")
    scope      = try(d.doc.spec.github.scope, "")
    group      = try(d.doc.spec.github.runnerGroup, "Default")
    repos      = try(d.doc.spec.github.repositories, [])
    labels     = try(d.doc.spec.labels, [])
    matching   = try(d.doc.spec.matching, "subset")
    priority   = try(d.doc.spec.priority, 100)
    max        = try(d.doc.spec.capacity.max, 10)
    idle       = try(d.doc.spec.capacity.idle, 0)
    schedules  = try(d.doc.spec.capacity.schedules, [])
    lifetime   = try(d.doc.spec.runner.lifetime, "ephemeral")
    os         = try(d.doc.spec.instance.os, "linux")
    arch       = try(d.doc.spec.instance.architecture, "x64")
    template   = try(d.doc.spec.instance.launchTemplate, null) == null ? "${var.cluster}-${d.name}" : d.doc.spec.instance.launchTemplate
    types      = try(d.doc.spec.instance.types, [])
    subnets    = flatten([for section, fields in d.spec : [for key, value in fields : value if key == "subnets"] if section == "instance"])
    market     = try(d.doc.spec.instance.market, "spot-then-on-demand")
    allocation = try(d.doc.spec.instance.allocation, "price-capacity-optimized")
    tags       = try({ for key, value in d.doc.spec.instance.tags : key => value }, {})
    bootstrap = {
      version   = try(d.doc.spec.bootstrap.version, "latest")
      user      = try(d.doc.spec.bootstrap.user, "runner")
      sudo      = try(d.doc.spec.bootstrap.sudo, false)
      work      = try(d.doc.spec.bootstrap.workDirectory, "_work")
      started   = try(coalesce(d.doc.spec.bootstrap.hooks.jobStarted), "")
      completed = try(coalesce(d.doc.spec.bootstrap.hooks.jobCompleted), "")
      pre       = try(d.doc.spec.bootstrap.preInstall, "")
      post      = try(d.doc.spec.bootstrap.postInstall, "")
      http      = try(coalesce(d.doc.spec.bootstrap.proxy.http), "")
      https     = try(coalesce(d.doc.spec.bootstrap.proxy.https), "")
      none      = try(d.doc.spec.bootstrap.proxy.none, [])
      stages    = try(d.doc.spec.bootstrap.reportStages, false)
    }
    seconds = { for field, text in {
      queueDelay   = try(coalesce(d.doc.spec.runner.queueDelay), "0s")
      bootDeadline = try(d.doc.spec.runner.bootDeadline, "5m")
      idleTimeout  = try(d.doc.spec.runner.idleTimeout, "10m")
      maxLifetime  = try(d.doc.spec.runner.maxLifetime, "24h")
    } : field => try(tonumber(regex("^[0-9]+", text)) * local.unit[regex("[a-z]+$", text)], 0) }
    holds = try([for s in try(d.doc.spec.capacity.schedules, []) : try(tonumber(regex("^[0-9]+", s.hold)) * local.unit[regex("[a-z]+$", s.hold)], 3600)], [])
  } }

  names       = [for d in local.apps : d.name]
  token_names = [for d in local.tokens : d.name]

  path = "^[A-Za-z0-9/\\\\:._+ @-]{1,255}$"
  url  = "^https?://[A-Za-z0-9\\[][A-Za-z0-9.:\\[\\]-]*(/[!-~]*)?$"
  # Minute, hour, day, month, weekday: each a list of *, numbers and ranges, with steps.
  cron = join(" +", [for one in [
    "[0-5]?[0-9]", "([01]?[0-9]|2[0-3])", "(L|\\?|(0?[1-9]|[12][0-9]|3[01])W?)",
    "(0?[1-9]|1[0-2]|(?i:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))", "(\\?|([0-7]|(?i:SUN|MON|TUE|WED|THU|FRI|SAT))(#[1-5]|L)?)",
  ] : "(\\*|${one}(-${one})?)(/[1-9][0-9]?)?(,(\\*|${one}(-${one})?)(/[1-9][0-9]?)?)*"])
  zones    = split("\n", trimspace(file("${path.module}/../schemas/timezones.txt")))
  of_names = [for d in local.pools : "${d.at}metadata.name: cluster and pool have ${length(var.cluster) + length(d.name)} characters together; GitHub admits 43" if length(var.cluster) + length(d.name) > 43]

  of_pools = flatten([for name, p in local.judged : [for rule in [
    [p.app != "" && p.token != "", "spec.github.app: app and token are both written; keep app for org/ and repo/, token for enterprise/"],
    [startswith(p.scope, "enterprise/") && p.app != "", "spec.github.app: GitHub lets no App manage an enterprise's runners; make a GitHubToken, and name it in spec.github.token instead"],
    [!startswith(p.scope, "enterprise/") && p.token != "", "spec.github.token: a GitHubToken is for enterprise/NAME; name a GitHubApp in spec.github.app instead"],
    [!startswith(p.scope, "enterprise/") && p.token == "" && !contains(local.names, p.app), "spec.github.app: there is no GitHubApp `${p.app}`; write one of ${join(", ", local.names)}"],
    [startswith(p.scope, "enterprise/") && p.app == "" && !contains(local.token_names, p.token), "spec.github.token: there is no GitHubToken `${p.token}`; write one of ${join(", ", local.token_names)}"],
    [!can(regex("^(org/[A-Za-z0-9._-]+|repo/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+|enterprise/[A-Za-z0-9._-]+)$", p.scope)), "spec.github.scope: write org/NAME, repo/OWNER/NAME or enterprise/NAME"],
    [trimspace(p.group) == "", "spec.github.runnerGroup: is empty; write a runner group's name, or leave it out for Default"],
    [startswith(p.scope, "repo/") && p.group != "Default", "spec.github.runnerGroup: a repository has no runner groups; leave it out, or use the scope org/NAME"],
    [!alltrue([for r in p.repos : can(regex("^[A-Za-z0-9._*-]+/[A-Za-z0-9._*-]+$", r))]), "spec.github.repositories: write OWNER/NAME, `*` stands for any characters"],
    [!alltrue([for r in p.repos : startswith(p.scope, "enterprise/") || strcontains(split("/", r)[0], "*") || try(lower(split("/", r)[0]) == lower(split("/", p.scope)[1]), true)]), "spec.github.repositories: one matches nothing in ${p.scope}; mend it or leave it out"],
    [length(distinct(p.repos)) < length(p.repos), "spec.github.repositories: one stands there twice; keep one"],
    [length(p.labels) > 100, "spec.labels: GitHub admits 100"],
    [!alltrue([for l in p.labels : trimspace(l) == l && l != "" && length(l) <= 256 && !can(regex("[,\n\t]", l))]), "spec.labels: a label has 1 to 256 characters, no comma, line break or space around it"],
    [length(distinct([for l in p.labels : lower(l)])) < length(p.labels), "spec.labels: one stands there twice (case does not count); keep one"],
    [p.idle > p.max, "spec.capacity.idle: is ${p.idle} but max is ${p.max}; lower idle or raise max"],
    [anytrue([for s in p.schedules : try(s.idle, 0) > p.max]), "spec.capacity.schedules: an idle is above max, ${p.max}; lower idle or raise max"],
    [!alltrue([for s in p.schedules : can(regex("^(${local.cron}|@(yearly|annually|monthly|weekly|daily|hourly))$", s.cron))]), "spec.capacity.schedules: a cron is not five fields; write one such as `0 8-18 * * MON-FRI`"],
    [!alltrue([for s in p.schedules : contains(local.zones, try(s.timezone, "UTC"))]), "spec.capacity.schedules: a timezone is no IANA name, such as Europe/Amsterdam or UTC"],
    [!alltrue([for h in p.holds : h >= 1 && h <= 31 * 86400]), "spec.capacity.schedules: write a hold of 1s to 31d"],
    [p.seconds.queueDelay > 3600, "spec.runner.queueDelay: write 0s to 1h"],
    [p.seconds.bootDeadline < 1 || p.seconds.bootDeadline > 3600, "spec.runner.bootDeadline: write 1s to 1h"],
    [p.seconds.idleTimeout < 1 || p.seconds.idleTimeout > 86400, "spec.runner.idleTimeout: write 1s to 1d"],
    [p.seconds.maxLifetime < 1 || p.seconds.maxLifetime > 30 * 86400, "spec.runner.maxLifetime: write 1s to 30d"],
    [p.seconds.maxLifetime <= p.seconds.bootDeadline, "spec.runner.maxLifetime: must be longer than bootDeadline, or no box lives to take a job"],
    [p.lifetime == "reusable" && p.seconds.maxLifetime <= p.seconds.idleTimeout, "spec.runner.maxLifetime: must be longer than idleTimeout, or an idle runner never drains"],
    [!can(regex("^[A-Za-z0-9()./_-]{3,128}$", p.template)), "spec.instance.launchTemplate: write a launch template's name (3 to 128 letters, digits and ()./-_), not its ARN"],
    [!alltrue([for t in p.types : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", t))]), "spec.instance.types: write instance types, such as m7i.large"],
    [!alltrue([for s in p.subnets : can(regex("^subnet-[A-Za-z0-9]+$", s))]), "spec.instance.subnets: write subnets' ids, such as subnet-0123456789abcdef0"],
    [length(distinct(p.types)) < length(p.types), "spec.instance.types: one stands there twice; keep one"],
    [length(distinct(p.subnets)) < length(p.subnets), "spec.instance.subnets: one stands there twice; keep one"],
    [length(p.types) * length(p.subnets) > 300, "spec.instance.types: ${length(p.types)} types x ${length(p.subnets)} subnets are more than 300 offerings; CreateFleet takes 300"],
    # The series (u-, is-) aside, a `g` after the generation means Graviton, as in reconciler/src/manifest/validate/pool.rs.
    [!alltrue([for t in p.types : can(regex("^(a1\\.|mac2|([a-z]+-)?[a-z]+[0-9]+[a-z]*g)", t)) == (p.arch == "arm64")]), "spec.instance.types: a type is not of the pool's architecture, ${p.arch}; mend one"],
    [p.os == "windows" && p.arch == "arm64", "spec.instance.architecture: EC2 has no Windows on arm64; write x64, or os: linux"],
    [p.market == "on-demand" && p.allocation != "price-capacity-optimized", "spec.instance.allocation: chooses among spot offerings, and this pool buys none; leave it out"],
    [length(merge(p.tags, local.controller_tags)) > 40, "spec.instance.tags: at most 40 together with the Controller's (EC2 admits 50, and muster adds its own)"],
    [!alltrue([for k, v in p.tags : can(regex("^[A-Za-z0-9+=.,_:@-]{1,128}$", k)) && !can(regex("^(?i)(aws:|muster:)", k)) && !contains([".", "..", "_index"], k) && length(tostring(v)) <= 256]), "spec.instance.tags: a key has 1 to 128 letters, digits and +-=.,_:@ and does not begin with aws: or muster:; a value has 256 characters at most"],
    [!can(regex("^(latest|[0-9]{1,6}\\.[0-9]{1,6}\\.[0-9]{1,6})$", p.bootstrap.version)), "spec.bootstrap.version: write latest, or a version such as 2.330.0"],
    [!can(regex(p.os == "windows" ? "^[A-Za-z_]([A-Za-z0-9_.-]{0,18}[A-Za-z0-9_-])?$" : "^[A-Za-z_][A-Za-z0-9_-]{0,31}$", p.bootstrap.user)), "spec.bootstrap.user: write 1 to ${p.os == "windows" ? 20 : 32} letters, digits, `_` and `-`, such as runner"],
    [p.bootstrap.sudo && p.os == "windows", "spec.bootstrap.sudo: is for Linux; leave it out: on Windows the user that runs the jobs is an administrator"],
    [!can(regex(local.path, p.bootstrap.work)) || trimspace(p.bootstrap.work) == "", "spec.bootstrap.workDirectory: write 1 to 255 letters, digits, spaces and any of / \\ : . _ - + @"],
    [!alltrue([for h in [p.bootstrap.started, p.bootstrap.completed] : h == "" || can(regex(p.os == "windows" ? "^.:[\\\\/]" : "^/", h)) && can(regex(local.path, h))]), "spec.bootstrap.hooks: write a script's absolute path on the box, such as /opt/hooks/started.sh"],
    [(length(base64encode(p.bootstrap.pre)) + length(base64encode(p.bootstrap.post))) * 3 / 4 - length(regexall("=", "${base64encode(p.bootstrap.pre)}${base64encode(p.bootstrap.post)}")) > 4096, "spec.bootstrap.preInstall: with postInstall, 4096 bytes at most: put more into the image"],
    [!alltrue([for u in [p.bootstrap.http, p.bootstrap.https] : u == "" || can(regex(local.url, u))]), "spec.bootstrap.proxy: write http://HOST:PORT, without credentials"],
    [!alltrue([for h in p.bootstrap.none : can(regex("^[A-Za-z0-9.*:/\\[\\]_-]+$", h))]), "spec.bootstrap.proxy.none: write names, .domains or addresses"],
  ] : "${p.at}${rule[1]}" if rule[0]]])

  takes = { for name, p in local.judged : name => jsonencode([lower(p.scope), sort([for l in p.labels : lower(l)]), p.matching, p.priority, sort([for r in p.repos : lower(r)])]) }
  of_pairs = [for key in distinct(values(local.takes)) :
    "pools ${join(", ", [for name, k in local.takes : name if k == key])} take the same jobs at the same priority; give one another priority, labels or repositories"
    if length([for k in values(local.takes) : k if k == key]) > 1
  ]

  references = flatten(concat(
    [for d in local.apps : concat(
      [for ref in [try(d.doc.spec.privateKey, "")] : { at = d.at, kind = "keys", ref = try(tostring(ref), "") }],
      [for ref in try(d.doc.spec.webhookSecrets, []) : { at = d.at, kind = "webhooks", ref = try(tostring(ref), "") }],
    )],
    [for d in local.tokens : concat(
      [for ref in [try(d.doc.spec.token, "")] : { at = d.at, kind = "keys", ref = try(tostring(ref), "") }],
      [for ref in try(d.doc.spec.webhookSecrets, []) : { at = d.at, kind = "webhooks", ref = try(tostring(ref), "") }],
    )],
    [for d in local.controllers : [for ref in [try(d.doc.spec.listen.adminToken, null)] : { at = d.at, kind = "tokens", ref = try(tostring(ref), "") } if ref != null]],
  ))
  of_apps = concat(
    [for r in local.references : "${r.at}a secret is not an ssm: reference; write ssm:/muster/${var.cluster}/NAME: the controller has neither your files nor your environment" if !can(regex("^ssm:/[A-Za-z0-9/._-]*[A-Za-z0-9._-]$", r.ref))],
    [for d in local.apps : "${d.at}spec.appId: write the App's id, a number that GitHub shows in the App's settings" if try(d.doc.spec.appId < 1, true)],
    [for d in concat(local.apps, local.tokens) : "${d.at}spec.apiUrl: write an http or https URL, without a slash at the end" if !can(regex(local.url, try(d.doc.spec.apiUrl, "https://x"))) || endswith(try(d.doc.spec.apiUrl, ""), "/")],
  )

  controller_tags = { for key, value in try(local.controllers[0].doc.spec.tags, {}) : key => value }
  contradictions  = concat(local.of_names, local.of_pools, local.of_pairs, local.of_apps)
}
