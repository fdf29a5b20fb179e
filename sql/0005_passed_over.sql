-- A load that begins where the topic has dropped changes which were not applied lets the group go on behind them: the
-- load brings what came of them. Where the partition stood, and for which load it does no longer. Given up, the
-- partition stands there again, since nothing else shows that changes are missing; `went_on` is how far it had come
-- behind them, from where it goes on once another load begins.
ALTER TABLE deltaferry.offsets
    ADD COLUMN passed_for text,
    ADD COLUMN passed_from bigint,
    ADD COLUMN went_on bigint;
