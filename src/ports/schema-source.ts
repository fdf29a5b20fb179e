/** The schemas that records on the topic name by id. */
export interface SchemaSource {
  /**
   * Throws a PoisonError where no such schema exists (the record is not one of ours), an OperatorError
   * where the registry no longer knows our own schemas either, a TransientError where it does not answer.
   */
  schemaById(id: number): Promise<object>;
}
