import { Catch } from '@nestjs/common';
import { RestErrorFilter, type RestError } from '@weir/rest';
import { asWeirError } from '@weir/platform/database';
import { RelayRefused } from './relays.js';

const REFUSALS = {
  'unknown-stream': { status: 404, code: 'NOT_FOUND' },
  conflict: { status: 409, code: 'ALREADY_EXISTS' },
  failed: { status: 500, code: 'RELAY_FAILED' },
} as const satisfies Record<RelayRefused['tag'], object>;

@Catch()
export class ErrorFilter extends RestErrorFilter {
  protected override answerTo(error: unknown): RestError {
    return error instanceof RelayRefused
      ? { ...REFUSALS[error.tag], message: error.message, fields: {} }
      : super.answerTo(asWeirError(error));
  }
}
