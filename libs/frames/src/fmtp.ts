/** The parameters of an SDP line `a=fmtp:96 a=1;b=2` (the part after the payload type), names in lower case. */
export function parseFmtp(text: string): Record<string, string> {
  const parameters: Record<string, string> = {};
  for (const item of text.split(';')) {
    const separator = item.indexOf('=');
    const name = (separator < 0 ? item : item.slice(0, separator)).trim().toLowerCase();
    if (name !== '') parameters[name] = separator < 0 ? '' : item.slice(separator + 1).trim();
  }
  return parameters;
}
