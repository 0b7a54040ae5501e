import { Catch } from '@nestjs/common';
import { RestErrorFilter, type RestError } from '@weir/rest';
import { isWeirError } from '@weir/contracts';

/** The original interface knows 200, 404 and 500. The caller's other errors keep their own HTTP status. */
const KEPT: ReadonlySet<number> = new Set([400, 401, 403, 404]);

@Catch()
export class ErrorFilter extends RestErrorFilter {
  protected override answerTo(error: unknown): RestError {
    const answer = super.answerTo(error);
    return isWeirError(error) && !KEPT.has(answer.status) ? { ...answer, status: 500 } : answer;
  }
}
