import type { JsonObject, JsonValue, MessageInitShape } from '@bufbuild/protobuf';
import type { route } from '#libs/contracts';
import { CodedError } from '#libs/kernel';
import { hintNames } from './routing-config.ts';

const annotationBytesMax = 64 * 1024;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (problem: string, cause?: unknown): CodedError =>
  new CodedError('ROUTE_AIBRIX_CONFIG_INVALID', `model.aibrix.ai/config: ${problem}`, {
    advice: 'Its form: {"defaultProfile":"a","profiles":{"a":{"routingStrategy":"least-request"}}}.',
    cause,
  });

function text(json: JsonObject, name: string): string {
  const value = json[name] ?? '';
  if (typeof value !== 'string') throw invalid(`${name} is not a text`);
  return value;
}

/** The policy that AIBrix's annotation `model.aibrix.ai/config` asks for, and the routingConfig names that Lintel ignores. */
export interface AibrixPolicy {
  readonly policy: Omit<MessageInitShape<typeof route.RoutingPolicySchema>, 'policyId' | 'models' | '$typeName'>;
  readonly ignored: readonly string[];
}

/** Strategies are checked when the policy is adopted. @throws ROUTE_AIBRIX_CONFIG_INVALID; nothing else */
export function parseAibrixConfig(annotation: string): AibrixPolicy {
  if (annotation.length > annotationBytesMax) throw invalid(`more than ${annotationBytesMax} characters`);
  let json: JsonValue;
  try {
    json = JSON.parse(annotation) as JsonValue;
  } catch (cause) {
    throw invalid('not JSON', cause);
  }
  if (!isObject(json)) throw invalid('not an object');
  const given = json['profiles'] ?? {};
  if (!isObject(given)) throw invalid('profiles is not an object');
  const ignored: string[] = [];
  const profiles = Object.entries(given).map(([name, profile]) => {
    if (!isObject(profile)) throw invalid(`profile ${name} is not an object`);
    const requestsPerSecond = profile['requestsPerSecond'] ?? 0;
    if (typeof requestsPerSecond !== 'number') throw invalid(`requestsPerSecond of ${name} is not a number`);
    const config = profile['routingConfig'] ?? {};
    if (!isObject(config)) throw invalid(`routingConfig of ${name} is not an object`);
    const routingConfig: JsonObject = {};
    for (const [key, value] of Object.entries(config)) {
      if ((hintNames as readonly string[]).includes(key)) routingConfig[key] = value;
      else ignored.push(`${name}.${key}`);
    }
    return { name, strategy: text(profile, 'routingStrategy'), requestsPerSecond, routingConfig };
  });
  const lockedStrategy = text(json, 'lockedRoutingStrategy');
  return { policy: { lockedStrategy, defaultProfile: text(json, 'defaultProfile'), profiles }, ignored };
}
