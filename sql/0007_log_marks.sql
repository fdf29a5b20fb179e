-- What a poller of a captured table counts up after each snapshot that it goes by: where the number is lost, so is
-- something that was published. A sequence, so that counting leaves no dead rows; shared by all tables.
CREATE SEQUENCE deltaferry.log_marks;
