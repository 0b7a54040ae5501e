import {
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  ScalarType,
  create,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { type DescMethod, type DescField } from '@bufbuild/protobuf';
import { reflect } from '@bufbuild/protobuf/reflect';
import { Delivery, ErrorCode, WeirError, method as methodOptions } from '@weir/contracts';
import { BusMisuseError } from './errors.js';

/** A method of the contract, as found in a generated service descriptor: `Media.method.publish`. */
export type Method<I extends DescMessage, O extends DescMessage> = DescMethodUnary<I, O>;

/** How a method's messages travel: the method's options in the contract, after checks. */
export type Route = RequestRoute | EventRoute;

export interface RequestRoute {
  readonly tag: 'any' | 'owner';
  /** The full name, for example `weir.v1.Media.Publish`. */
  readonly name: string;
  readonly deadlineMs: number;
  readonly ownerField: DescField | undefined;
}

export interface EventRoute {
  readonly tag: 'event';
  readonly name: string;
  readonly traced: boolean;
  readonly ownerField: DescField | undefined;
}

const routes = new WeakMap<DescMethod, Route>();

/** @throws BusMisuseError if the method's options are missing or contradict each other */
export function routeOf(method: DescMethod): Route {
  const known = routes.get(method);
  if (known !== undefined) return known;
  const route = readRoute(method);
  routes.set(method, route);
  return route;
}

function readRoute(method: DescMethod): Route {
  const name = `${method.parent.typeName}.${method.name}`;
  if (method.methodKind !== 'unary') throw new BusMisuseError(`${name} is a streaming method; the bus has only unary`);
  if (!hasOption(method, methodOptions)) throw new BusMisuseError(`${name} has no weir.options.v1.method option`);
  const { delivery, deadlineMs, ownerField: ownerFieldName, untraced } = getOption(method, methodOptions);
  const ownerField = ownerFieldName === '' ? undefined : findOwnerField(method, ownerFieldName, name);
  const needsDeadline = (): number => {
    if (deadlineMs === 0) throw new BusMisuseError(`${name} has no deadline_ms`);
    return deadlineMs;
  };
  const refusesOwner = (): void => {
    if (ownerField !== undefined)
      throw new BusMisuseError(`${name} has an owner_field, but isn't delivered to an owner`);
  };
  switch (delivery) {
    case Delivery.ANY:
      refusesOwner();
      return { tag: 'any', name, deadlineMs: needsDeadline(), ownerField: undefined };
    case Delivery.OWNER:
      if (ownerField === undefined) throw new BusMisuseError(`${name} is delivered to an owner and has no owner_field`);
      return { tag: 'owner', name, deadlineMs: needsDeadline(), ownerField };
    case Delivery.EVENT:
      return { tag: 'event', name, ownerField, traced: !untraced };
    case Delivery.UNSPECIFIED:
      throw new BusMisuseError(`${name} has no delivery`);
    default:
      throw new BusMisuseError(
        `${name} has the delivery ${String(delivery satisfies never)}, which this bus doesn't know`,
      );
  }
}

function findOwnerField(method: DescMethod, fieldName: string, name: string): DescField {
  const field = method.input.fields.find((candidate) => candidate.name === fieldName);
  if (field === undefined) {
    throw new BusMisuseError(`${name}: owner_field ${fieldName} isn't a field of ${method.input.typeName}`);
  }
  if (field.fieldKind !== 'scalar' || field.scalar !== ScalarType.STRING || field.oneof !== undefined) {
    throw new BusMisuseError(`${name}: owner_field ${fieldName} isn't a plain string field`);
  }
  return field;
}

export function requestRoute(method: DescMethod, verb: string): RequestRoute {
  const route = routeOf(method);
  if (route.tag === 'any' || route.tag === 'owner') return route;
  throw misuse(route, verb);
}

export function eventRoute(method: DescMethod, verb: string): EventRoute {
  const route = routeOf(method);
  if (route.tag === 'event') return route;
  throw misuse(route, verb);
}

const RIGHT_VERBS = {
  any: 'call and serve',
  owner: 'call and serve',
  event: 'publish and subscribe',
} as const;

const misuse = (route: Route, verb: string): BusMisuseError =>
  new BusMisuseError(
    `${verb} doesn't fit ${route.name}: it is ${DELIVERY_TEXT[route.tag]}, use ${RIGHT_VERBS[route.tag]}`,
  );

const DELIVERY_TEXT = { any: 'a request', owner: 'a request', event: 'an event' } as const;

/**
 * The subject of a message. All subjects of the bus are made here, in the form
 * `<call|event>.<service>.<Method>[.<owner>]`. The first token lets a NATS server grant rights by kind.
 */
export function subjectOf(route: Route, ownerId?: string): string {
  const subject = `${PREFIX[route.tag]}.${route.name}`;
  return ownerId === undefined ? subject : `${subject}.${ownerToken(ownerId)}`;
}

const PREFIX = { any: 'call', owner: 'call', event: 'event' } as const;

/** Encodes an id as one token of a subject; different ids give different tokens. */
export function ownerToken(id: string): string {
  let token = '';
  for (const byte of new TextEncoder().encode(id)) {
    const character = String.fromCharCode(byte);
    token += /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token;
}

/** @throws WeirError INVALID if the message doesn't name its owner */
export function ownerOf<Desc extends DescMessage>(
  route: RequestRoute | EventRoute,
  schema: Desc,
  message: MessageShape<Desc>,
): string | undefined {
  if (route.ownerField === undefined) return undefined;
  const value: unknown = reflect(schema, message).get(route.ownerField);
  if (typeof value === 'string' && value !== '') return value;
  throw new WeirError(ErrorCode.INVALID, `${route.name}: ${route.ownerField.name} is empty`);
}

/** The message made from an init, which may itself be a message. */
export const messageOf = <Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): MessageShape<Desc> =>
  create(schema, init);
