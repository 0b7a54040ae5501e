/** RFC 2046 allows 70 characters. */
const OPENING = /^--([0-9A-Za-z'()+_,\-./:=? ]{1,70})[ \t]*\r\n/;
const MAX_PARTS = 20;
const MAX_HEADERS_BYTES = 4_096;

const CRLF = Buffer.from('\r\n');
const HEADERS_END = Buffer.from('\r\n\r\n');

/**
 * The content of the part named `file` in a multipart/form-data body (RFC 7578), as HTML forms and `curl -F` send it.
 * The first line tells the boundary. Undefined if the body has another form or no such part.
 */
export const fileInForm = (body: Buffer): Buffer | undefined => {
  const boundary = OPENING.exec(body.toString('latin1', 0, 80))?.[1];
  if (boundary === undefined) return undefined;
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  // A part's headers begin with the end of the delimiter's line, so a part without headers is found too.
  let at = delimiter.length - CRLF.length;
  for (let part = 0; part < MAX_PARTS; part++) {
    const lineEnd = body.indexOf(CRLF, at);
    const headersEnd = body.indexOf(HEADERS_END, lineEnd);
    const end = headersEnd < 0 ? -1 : body.indexOf(delimiter, headersEnd + CRLF.length);
    if (lineEnd < 0 || end < 0 || headersEnd - lineEnd > MAX_HEADERS_BYTES) return undefined;
    const headers = body.toString('latin1', lineEnd, headersEnd);
    if (/\r\ncontent-disposition:[^\r\n]*;\s*name="?file"?(?:;|\s*(?:\r|$))/i.test(headers))
      return body.subarray(headersEnd + HEADERS_END.length, end);
    at = end + delimiter.length;
    if (body.toString('latin1', at, at + 2) === '--') return undefined;
  }
  return undefined;
};
