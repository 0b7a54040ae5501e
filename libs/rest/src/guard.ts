import {
  createParamDecorator,
  HttpException,
  Inject,
  Injectable,
  UseGuards,
  type CanActivate,
  type ExecutionContext,
  type Type,
} from '@nestjs/common';
import { ErrorCode, isWeirError, WeirError } from '@weir/contracts';
import { Access, credentialOf, type CredentialCarrier, type CredentialSource, type Principal } from '@weir/access';
import { restErrorBody, restErrorOf } from './error-filter.js';

/** Keyed weakly, so that a principal lives no longer than its request. */
const principals = new WeakMap<object, Principal>();

/** Turns a WeirError into its HTTP answer; returns any other error unchanged. */
const toHttpException = (error: unknown): unknown => {
  if (!isWeirError(error)) return error;
  const answer = restErrorOf(error);
  return new HttpException(restErrorBody(answer), answer.status, { cause: error });
};

const guardFor = (sources: readonly CredentialSource[] | undefined): Type<CanActivate> => {
  @Injectable()
  class AccessGuard implements CanActivate {
    constructor(@Inject(Access) private readonly access: Pick<Access, 'authenticate'>) {}

    async canActivate(context: ExecutionContext): Promise<boolean> {
      const request = context.switchToHttp().getRequest<CredentialCarrier & object>();
      try {
        const credential = credentialOf(request, sources);
        if (credential === undefined) {
          throw new WeirError(
            ErrorCode.UNAUTHENTICATED,
            'A token or key is needed; send the header Authorization: Bearer <token or key>',
          );
        }
        principals.set(request, await this.access.authenticate(credential));
        return true;
      } catch (error) {
        throw toHttpException(error);
      }
    }
  }
  return AccessGuard;
};

/**
 * Allows requests to a controller or handler only with a valid credential; the module provides `Access`.
 * The default sources are header, query and cookie. Handlers that change things for an operator take 'header' alone,
 * because a browser sends cookies unasked and URLs end up in logs.
 */
export const Authenticated = (...sources: CredentialSource[]): ClassDecorator & MethodDecorator =>
  UseGuards(guardFor(sources.length === 0 ? undefined : sources));

/** The parameter that holds the Principal of an `@Authenticated()` handler. */
export const CurrentPrincipal = createParamDecorator((_data: undefined, context: ExecutionContext): Principal => {
  const principal = principals.get(context.switchToHttp().getRequest<object>());
  if (principal === undefined) throw new Error('@CurrentPrincipal() needs @Authenticated()');
  return principal;
});
