// Whether IAM would allow requests, by an evaluator that nobody here wrote. One line of JSON in, one out:
// {"policies": [..], "requests": [{"action", "resource", "context"}]} -> [null where it is allowed, else why not].
import { createInterface } from "node:readline";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const ACCOUNT = "123456789012";
const PRINCIPAL = `arn:aws:sts::${ACCOUNT}:assumed-role/judged/session`;
const ORGANISATION = [{
  orgIdentifier: "ou-judged",
  policies: [{ name: "all", policy: { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] } }],
}];
// A key's own policy comes first; the one that Terraform makes, as AWS's default one, leaves it to the account's policies.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
const KEY_POLICY = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: "kms:*", Resource: "*" }],
};

// What a statement lacked: the action, the resource, or which conditions.
function lacked(statement) {
  if (statement.actionMatch === false || statement.resourceMatch === false) return null;
  const conditions = (statement.explain?.conditions ?? []).filter((condition) => !condition.matches);
  const named = conditions.map((condition) => `${condition.operator} ${condition.conditionKeyValue ?? condition.key ?? ""}`.trim());
  return `${statement.statement?.sid?.() ?? statement.explain?.identifier ?? "a statement"}: ${named.join(", ") || "its conditions"}`;
}

async function refusal(identityPolicies, { action, resource, context }) {
  const found = await runSimulation({
    request: { principal: PRINCIPAL, action, resource: { resource, accountId: ACCOUNT }, contextVariables: context },
    identityPolicies,
    serviceControlPolicies: ORGANISATION,
    resourceControlPolicies: [],
    resourcePolicy: action.startsWith("kms:") ? KEY_POLICY : undefined,
  }, {});
  if (found.resultType === "error") return `it could not be evaluated: ${JSON.stringify(found.errors)}`;
  if (found.overallResult === "Allowed") return null;
  const results = found.results ?? [found.result];
  const statements = results.flatMap((result) => result.analysis?.identityAnalysis?.unmatchedStatements ?? []);
  const near = statements.map(lacked).filter(Boolean);
  return `${found.overallResult}; ${near.length ? `not met: ${near.join("; ")}` : "no statement has this action on this resource"}`;
}

// The evaluator knows the key of an encryption context only by the name that the Service Authorization Reference has for all of them.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awskeymanagementservice.html
const known = (line) => line.replaceAll("kms:EncryptionContext:PARAMETER_ARN", "kms:EncryptionContext:${EncryptionContextKey}");

for await (const line of createInterface({ input: process.stdin })) {
  const { policies, requests } = JSON.parse(known(line));
  const identityPolicies = policies.map((policy, number) => ({ name: `policy${number}`, policy }));
  const answers = [];
  for (const request of requests) answers.push(await refusal(identityPolicies, request));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
