"""Tables in, arrays inside: schema, calendar, panels and the edge where data frames are read."""
