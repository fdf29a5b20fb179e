/** The command that changes one setting of a topic, for an operator to run: nothing here alters a topic. */
export function alterTopicCommand(topic: string, setting: string, value: string | number): string {
  return `kafka-configs --bootstrap-server <broker> --alter --topic ${topic} --add-config ${setting}=${value}`;
}
