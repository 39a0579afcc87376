"""Operations and bookkeeping that know nothing of models, data sets or configs."""
