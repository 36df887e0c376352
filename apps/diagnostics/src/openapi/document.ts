import { RequestMethod } from '@nestjs/common';
import { z } from 'zod';
import { problem } from './answers.ts';
import type { RouteDescription } from './described.ts';
import { descriptionOf } from './described.ts';

type Json = Record<string, unknown>;
export type ControllerClass = new (...args: never[]) => object;

export interface ApiRoute {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** "/api/v1/tenants/{tenantId}" */
  readonly path: string;
  readonly status: number;
  /** Undefined where nobody described it: a test fails then. */
  readonly description: RouteDescription | undefined;
}

/** The routes of these controllers under `prefix`, from Nest's own metadata. */
export function routesOf(controllers: readonly ControllerClass[], prefix = '/api/'): ApiRoute[] {
  return controllers.flatMap((controller) => {
    const base = String(Reflect.getMetadata('path', controller) ?? '');
    return Object.getOwnPropertyNames(controller.prototype).flatMap((name): ApiRoute[] => {
      const handler = (controller.prototype as Record<string, object>)[name] as object;
      const method = Reflect.getMetadata('method', handler) as RequestMethod | undefined;
      if (method === undefined) return [];
      const own = String(Reflect.getMetadata('path', handler) ?? '');
      const path = `/${[base, own].join('/').split('/').filter(Boolean).join('/')}`.replace(/:(\w+)/g, '{$1}');
      if (!path.startsWith(prefix)) return [];
      const verb = RequestMethod[method].toLowerCase() as ApiRoute['method'];
      const description = descriptionOf(handler);
      return [{ method: verb, path, status: statusOf(handler, verb, description), description }];
    });
  });
}

function statusOf(handler: object, verb: string, description: RouteDescription | undefined): number {
  // The head of a stream of lines is written by hand.
  if (description?.as === 'lines') return 200;
  return (Reflect.getMetadata('__httpCode__', handler) as number | undefined) ?? (verb === 'post' ? 201 : 200);
}

const isEmpty = (schema: Json): boolean => Object.keys(schema).every((name) => name === 'default');

/** As a client writes it: what is only coerced from text says what it comes to. */
function schemaOf(schema: z.ZodType): Json {
  const make = (io: 'input' | 'output'): Json => {
    const { $schema: _, ...json } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json;
    return json;
  };
  if (!(schema instanceof z.ZodObject)) {
    const input = make('input');
    return isEmpty(input) ? { ...make('output'), ...input } : input;
  }
  const shape = schema.shape as Record<string, z.ZodType>;
  const required = Object.keys(shape).filter((name) => !isOptional(shape[name] as z.ZodType));
  const strict = schema.def.catchall instanceof z.ZodNever;
  return {
    type: 'object',
    properties: Object.fromEntries(Object.entries(shape).map(([name, one]) => [name, schemaOf(one)])),
    ...(required.length === 0 ? {} : { required }),
    ...(strict ? { additionalProperties: false } : {}),
  };
}

const isOptional = (schema: z.ZodType): boolean => schema.safeParse(undefined).success;

const parametersIn = (where: 'path' | 'query' | 'header', schema: z.ZodObject | undefined): Json[] =>
  Object.entries((schema?.shape ?? {}) as Record<string, z.ZodType>).map(([name, one]) => ({
    name,
    in: where,
    required: where === 'path' || !isOptional(one),
    schema: schemaOf(one),
  }));

const contentTypes = { json: 'application/json', lines: 'application/x-ndjson', text: 'text/plain' } as const;

function operationOf({ method, path, status, description }: ApiRoute): Json {
  const operationId = `${method}${path
    .replace('/api/v1', '')
    .replace(/[{}]/g, '')
    .replace(/[^a-z0-9]+([a-z0-9])/gi, (_all, first: string) => first.toUpperCase())}`;
  const problems = {
    description: 'Why not, and what to do.',
    content: { 'application/problem+json': { schema: ref } },
  };
  if (description === undefined) return { operationId, responses: { default: problems } };
  const { summary, params, query, headers, body, answer, as = 'json' } = description;
  const content = { [contentTypes[as]]: { schema: schemaOf(answer) } };
  return {
    operationId,
    summary,
    parameters: [...parametersIn('path', params), ...parametersIn('query', query), ...parametersIn('header', headers)],
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: body === 'application/yaml' || !isOptional(body),
            content:
              body === 'application/yaml'
                ? { [body]: { schema: { type: 'string' } } }
                : { 'application/json': { schema: schemaOf(body) } },
          },
        }),
    responses: {
      [status]: { description: as === 'lines' ? 'One JSON value a line.' : 'Done.', content },
      default: problems,
    },
  };
}

const ref = { $ref: '#/components/schemas/Problem' };

/** OpenAPI 3.1 of these routes. */
export function openApiOf(routes: readonly ApiRoute[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) (paths[route.path] ??= {})[route.method] = operationOf(route);
  return {
    openapi: '3.1.0',
    info: {
      title: 'Lintel admin API',
      version,
      description: 'What diagnostics answers to operators. docs/diagnostics.md says more.',
    },
    servers: [{ url: '/' }],
    security: [{ adminKey: [] }],
    paths,
    components: {
      schemas: { Problem: schemaOf(problem) },
      securitySchemes: { adminKey: { type: 'http', scheme: 'bearer', description: 'An admin key.' } },
    },
  };
}
