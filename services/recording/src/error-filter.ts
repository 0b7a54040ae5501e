import { Catch } from '@nestjs/common';
import { RestErrorFilter, type RestError } from '@weir/rest';
import { asWeirError } from '@weir/platform/database';

@Catch()
export class ErrorFilter extends RestErrorFilter {
  protected override answerTo(error: unknown): RestError {
    return super.answerTo(asWeirError(error));
  }
}
