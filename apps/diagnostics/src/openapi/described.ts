import type { z } from 'zod';

/** What a route takes and answers: the schemas that its handler checks with, and one that its answers are held to by the tests. */
export interface RouteDescription {
  readonly summary: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  /** A schema of JSON, or text of that type. */
  readonly body?: z.ZodType | 'application/yaml';
  /** Of the answer; of each of its lines where it is a stream. */
  readonly answer: z.ZodType;
  /** Default `json`. `text` is of the type that its client asks for. */
  readonly as?: 'json' | 'lines' | 'text';
}

const described = Symbol('described');

/** Describes the handler of a route for GET /api/v1/openapi.json. */
export const Described =
  (description: RouteDescription): MethodDecorator =>
  (_target, _name, property: PropertyDescriptor) => {
    Reflect.defineMetadata(described, description, property.value as object);
  };

export const descriptionOf = (handler: object): RouteDescription | undefined =>
  Reflect.getMetadata(described, handler) as RouteDescription | undefined;
