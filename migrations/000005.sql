-- The first version of a stream that was recorded at `p_time` or later; the head's successor when there is none, null without a time or a stream.
-- Versions are gapless and in the order of their times, so the primary key is enough to search by halves: about 20 look-ups for a million versions,
-- and no index on recorded_at that every append would have to keep. Where the server's clock was set back, the bound is off by as much.
CREATE FUNCTION chancery.version_since(p_stream text, p_time timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
  low bigint := 1;
  high bigint := (SELECT s.version + 1 FROM chancery.stream s WHERE s.stream = p_stream);
  middle bigint;
BEGIN
  WHILE low < high LOOP
    middle := (low + high) / 2;
    IF (SELECT v.recorded_at < p_time FROM chancery.version v WHERE v.stream = p_stream AND v.version = middle) THEN
      low := middle + 1;
    ELSE
      high := middle;
    END IF;
  END LOOP;
  RETURN high;
END
$$;
