import type { ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { z } from 'zod';
import { restErrorSchema } from './error-filter.js';

/** What the clients of a handler get. */
export type Answer =
  /** The schema describes the JSON of a success. */
  | { readonly tag: 'json'; readonly schema: z.ZodType; readonly errors: z.ZodType }
  | { readonly tag: 'file'; readonly contentTypes: readonly string[]; readonly errors: z.ZodType };

/** An answer without a body. */
export const noBody = z.void();

const Described = Reflector.createDecorator<Answer>();
const reflector = new Reflector();

type Handler<Value> = (...parameters: never[]) => Value | Promise<Value>;

interface Errors {
  /** Describes the bodies of errors. */
  readonly errors?: z.ZodType;
}

/**
 * Describes what a handler answers; the handler's type must fit the schema. Every handler of a REST has this or
 * `AnswersFile`.
 */
export const Answers =
  <Schema extends z.ZodType>(schema: Schema, { errors = restErrorSchema }: Errors = {}) =>
  <Fitting extends Handler<z.output<Schema>>>(
    target: object,
    name: string | symbol,
    descriptor: TypedPropertyDescriptor<Fitting>,
  ): void => {
    Described({ tag: 'json', schema, errors })(target, name, descriptor);
  };

/** Describes a handler that sends a file, of one of these content types. */
export const AnswersFile = (contentTypes: readonly string[], { errors = restErrorSchema }: Errors = {}) =>
  Described({ tag: 'file', contentTypes, errors });

/** Undefined for a handler without a description. */
export const answerOf = (handler: ReturnType<ExecutionContext['getHandler']>): Answer | undefined =>
  reflector.get(Described, handler);
