import { readFile } from 'node:fs/promises';
import { closest, CodedError, errorText } from '#libs/kernel';
import { isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { allReplicas } from './rolesets.ts';
import { fromAibrix } from './aibrix.ts';
import { modelRouteChecks } from './model-route-schema.ts';
import type { ConfigProblem } from './problem-list.ts';
import { ConfigInvalid } from './problem-list.ts';
import { tenantLimits } from './desired-limits.ts';
import type { LintelConfig, TenantConfig } from './schema.ts';
import { aibrixSchema, configSchema } from './schema.ts';

const fileBytesMax = 4 * 1024 * 1024;

type Issue = z.core.$ZodIssue;

/** Names allowed beside the unknown one, so that a suggestion can be made. */
function siblings(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  const unwrap = (node: unknown): unknown => {
    let inner = node as { def?: { innerType?: unknown } } | undefined;
    while (inner?.def?.innerType !== undefined) inner = inner.def.innerType as typeof inner;
    return inner;
  };
  for (const part of path) {
    const def = (unwrap(at) as { def?: { shape?: Record<string, unknown>; element?: unknown; valueType?: unknown } })
      .def;
    at = typeof part === 'number' ? def?.element : (def?.shape?.[String(part)] ?? def?.valueType);
    if (at === undefined) return [];
  }
  return Object.keys((unwrap(at) as { def?: { shape?: object } }).def?.shape ?? {});
}

function explain(schema: z.ZodType, issue: Issue): { path: PropertyKey[]; message: string; suggestion?: string }[] {
  const where = issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((name) => {
      const meant = closest(name, siblings(schema, issue.path));
      const allowed = siblings(schema, issue.path).join(', ');
      return {
        path: [...issue.path, name],
        message: `${where}unknown name "${name}"`,
        suggestion: meant === undefined ? `known here: ${allowed}` : `did you mean "${meant}"?`,
      };
    });
  }
  const options = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  const base = { path: [...issue.path], message: `${where}${issue.message}` };
  return [options.length === 0 ? base : { ...base, suggestion: `one of ${options.join(', ')}` }];
}

/**
 * Reads a configuration from its text: Lintel's own form, or AIBrix's standalone file (it has `models` at the top).
 * @throws CONFIG_INVALID with every problem, its line and a suggestion
 */
export function parseConfig(text: string, file: string): LintelConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const place = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0) {
    throw new ConfigInvalid(document.errors.map((error) => ({ file, ...place(error.pos[0]), message: error.message })));
  }
  /** The place of the name; where it is absent, of what should hold it. */
  const locate = (path: readonly PropertyKey[]): { line: number; column: number } => {
    for (let length = path.length; length >= 0; length--) {
      const parent = document.getIn(path.slice(0, length - 1), true);
      const pair = isMap(parent)
        ? parent.items.find(({ key }) => isScalar(key) && key.value === path[length - 1])
        : undefined;
      const node = length > 0 && pair !== undefined ? pair.key : document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return place(node.range[0]);
    }
    return { line: 1, column: 1 };
  };
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new ConfigInvalid([{ file, line: 1, column: 1, message: errorText(error) }]);
  }
  const isAibrix = typeof value === 'object' && value !== null && 'models' in value && !('replicas' in value);
  const schema = isAibrix ? aibrixSchema : configSchema;
  const result = schema.safeParse(value);
  if (!result.success) {
    throw new ConfigInvalid(
      result.error.issues.flatMap((issue) =>
        explain(schema, issue).map(({ path, ...rest }): ConfigProblem => ({ file, ...locate(path), ...rest })),
      ),
    );
  }
  const problems = isAibrix ? [] : crossChecks(result.data as LintelConfig);
  if (problems.length > 0) {
    throw new ConfigInvalid(problems.map(({ path, message }) => ({ file, ...locate(path), message })));
  }
  try {
    return isAibrix ? fromAibrix(result.data as z.output<typeof aibrixSchema>) : (result.data as LintelConfig);
  } catch (error) {
    throw new ConfigInvalid([{ file, ...locate(['models']), message: `model.aibrix.ai/config: ${errorText(error)}` }]);
  }
}

/** What one value cannot say of itself: ids used twice, profiles that are not there. */
function crossChecks(config: LintelConfig): { path: PropertyKey[]; message: string }[] {
  const problems: { path: PropertyKey[]; message: string }[] = [];
  const once = (list: readonly { id?: string | undefined }[], at: PropertyKey[], what: string): void => {
    const seen = new Set<string>();
    for (const [index, { id }] of list.entries()) {
      if (id === undefined) continue;
      if (seen.has(id)) problems.push({ path: [...at, index, 'id'], message: `${what} id "${id}" is used twice` });
      seen.add(id);
    }
  };
  once(allReplicas(config), ['replicas'], 'replica');
  once([...allReplicas(config), ...config.providers], ['providers'], 'replica or provider');
  once(config.tenants, ['tenants'], 'tenant');
  once(config.policies, ['policies'], 'policy');
  once(
    config.tenants.flatMap((tenant) => tenant.keys),
    ['tenants'],
    'key',
  );
  problems.push(
    ...modelRouteChecks(
      config.modelRoutes,
      config.tenants.map((tenant) => tenant.id),
    ),
  );
  for (const [index, tenant] of config.tenants.entries()) {
    problems.push(...limitChecks(tenant, ['tenants', index]), ...peopleChecks(tenant, ['tenants', index]));
    once(tenant.projects, ['tenants', index, 'projects'], 'project');
    once(tenant.users, ['tenants', index, 'users'], 'user');
  }
  for (const [index, policy] of config.policies.entries()) {
    if (policy.profiles[policy.defaultProfile] !== undefined) continue;
    const meant = closest(policy.defaultProfile, Object.keys(policy.profiles));
    problems.push({
      path: ['policies', index, 'defaultProfile'],
      message: `no profile "${policy.defaultProfile}" in this policy${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
    });
  }
  return problems;
}

/** Projects and users that are named where they are not. */
function peopleChecks(
  { id, projects, users, keys }: TenantConfig,
  at: PropertyKey[],
): { path: PropertyKey[]; message: string }[] {
  const problems: { path: PropertyKey[]; message: string }[] = [];
  const known = (
    what: string,
    name: string | undefined,
    list: readonly { id: string }[],
    path: PropertyKey[],
  ): void => {
    if (name === undefined || list.some((one) => one.id === name)) return;
    const ids = list.map((one) => one.id);
    const meant = closest(name, ids);
    const there = ids.length === 0 ? `it has no ${what}s` : `there are: ${ids.join(', ')}`;
    const hint = meant === undefined ? there : `did you mean "${meant}"?`;
    problems.push({ path: [...at, ...path, what], message: `tenant "${id}" has no ${what} "${name}"; ${hint}` });
  };
  for (const [index, user] of users.entries()) known('project', user.project, projects, ['users', index]);
  for (const [index, key] of keys.entries()) {
    known('project', key.project, projects, ['keys', index]);
    known('user', key.user, users, ['keys', index]);
    const ofUser = users.find((user) => user.id === key.user)?.project;
    if (key.project === undefined || ofUser === undefined || ofUser === key.project) continue;
    problems.push({
      path: [...at, 'keys', index, 'project'],
      message: `user "${key.user}" is of project "${ofUser}"; leave the project out, or take another user`,
    });
  }
  return problems;
}

/** Limits that count the same cannot be told apart, by a client or in the log. */
function limitChecks(tenant: TenantConfig, at: PropertyKey[]): { path: PropertyKey[]; message: string }[] {
  const seen = new Set<string>();
  return tenantLimits(tenant).flatMap(({ limit: { limitId = '' }, path }) => {
    if (!seen.has(limitId)) {
      seen.add(limitId);
      return [];
    }
    const message = `"${limitId}" is limited twice; give one of them an id, or take it away`;
    return [{ path: [...at, ...path], message }];
  });
}

/** @throws CONFIG_UNREADABLE, CONFIG_INVALID */
export async function loadConfig(file: string): Promise<LintelConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new CodedError('CONFIG_UNREADABLE', `cannot read ${file}: ${errorText(cause)}`, {
      advice: 'Check the path given with --config.',
      cause,
    });
  }
  if (text.length > fileBytesMax) {
    throw new CodedError('CONFIG_INVALID', `${file} has ${text.length} characters; the bound is ${fileBytesMax}`);
  }
  return parseConfig(text, file);
}
