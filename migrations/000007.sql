-- Holds back everybody's appends to a stream until the caller's transaction ends: for a command about the stream as a whole (a rollback, an import),
-- which decides on all of it and which steady writers would otherwise always be faster than. Who may append may hold: an append does the same.
CREATE FUNCTION chancery.hold(p_stream text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery, pg_temp AS $$
BEGIN
  PERFORM FROM stream s WHERE s.stream = p_stream FOR UPDATE;
END
$$;
REVOKE EXECUTE ON FUNCTION chancery.hold FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.hold TO chancery_app;
