import { create } from '@bufbuild/protobuf';
import { CredentialRefSchema, type CredentialRef as CredentialRefMessage } from '@weir/contracts';
import { z } from 'zod';
import type { Principal } from './principal.js';

/** Names the credential that something was opened with, so that its end is noticed. Neither a secret nor a key. */
export type CredentialRef =
  | { readonly kind: 'token'; readonly tokenId: string; readonly expiresAtMs: number }
  | { readonly kind: 'key'; readonly keyId: string; readonly expiresAtMs?: number | undefined }
  | { readonly kind: 'application'; readonly appKey: string; readonly tenant: string };

const KEY_SUBJECT = 'key:';

/** The name of the credential that the principal presented. */
export const credentialRefOf = ({ subject, credential }: Principal): CredentialRef => {
  switch (credential.kind) {
    case 'token':
      return credential;
    case 'key':
      return { kind: 'key', keyId: subject.replace(KEY_SUBJECT, ''), expiresAtMs: credential.expiresAtMs };
    default:
      return credential satisfies never;
  }
};

/** Two refs have the same name exactly when they name the same credential. */
export const credentialNameOf = (ref: CredentialRef): string => {
  switch (ref.kind) {
    case 'token':
      return `token:${ref.tokenId}`;
    case 'key':
      return `key:${ref.keyId}`;
    case 'application':
      return `application:${ref.tenant}:${ref.appKey}`;
    default:
      return ref satisfies never;
  }
};

/** The time at which the credential expires, in ms of the epoch; Infinity when it never does. */
export const expiryOf = (ref: CredentialRef): number =>
  ref.kind === 'application' ? Infinity : (ref.expiresAtMs ?? Infinity);

export const credentialRefMessage = (ref: CredentialRef): CredentialRefMessage => {
  switch (ref.kind) {
    case 'token': {
      const { tokenId, expiresAtMs } = ref;
      return create(CredentialRefSchema, {
        kind: { case: 'token', value: { tokenId, expiresAtMs: BigInt(expiresAtMs) } },
      });
    }
    case 'key': {
      const { keyId, expiresAtMs = 0 } = ref;
      return create(CredentialRefSchema, { kind: { case: 'key', value: { keyId, expiresAtMs: BigInt(expiresAtMs) } } });
    }
    case 'application': {
      const { appKey, tenant } = ref;
      return create(CredentialRefSchema, { kind: { case: 'application', value: { appKey, tenant } } });
    }
    default:
      return ref satisfies never;
  }
};

/** Undefined when the message names no credential, or one of a kind that this version doesn't know. */
export const credentialRefIn = (message: CredentialRefMessage | undefined): CredentialRef | undefined => {
  const kind = message?.kind;
  switch (kind?.case) {
    case 'token':
      return { kind: 'token', tokenId: kind.value.tokenId, expiresAtMs: Number(kind.value.expiresAtMs) };
    case 'key':
      return { kind: 'key', keyId: kind.value.keyId, expiresAtMs: Number(kind.value.expiresAtMs) || undefined };
    case 'application':
      return { kind: 'application', appKey: kind.value.appKey, tenant: kind.value.tenant };
    case undefined:
      return undefined;
    default:
      return kind satisfies never;
  }
};

/** For refs that are read from a database. */
export const credentialRefSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('token'), tokenId: z.string(), expiresAtMs: z.number() }),
  z.object({ kind: z.literal('key'), keyId: z.string(), expiresAtMs: z.number().optional() }),
  z.object({ kind: z.literal('application'), appKey: z.string(), tenant: z.string() }),
]) satisfies z.ZodType<CredentialRef>;
