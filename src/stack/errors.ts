import { OperatorError } from '../errors.ts';

/** The local stack cannot be started or used; the message names the part and shows the end of its log. */
export class StackError extends OperatorError {}
