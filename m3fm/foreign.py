"""The words of questions of no task, in the form of `m3fm.wordings`: other diseases and parts, everyday life.

They fill the frames of the tasks, so that no frame tells a task.
"""

RULES = {
    "foreign": """appendicitis | an inflamed appendix | gallstones | a kidney stone | a bladder stone
        | hepatitis | cirrhosis of the liver | a fatty liver | a liver lesion | liver metastases
        | a liver cyst | an ulcer | a stomach ulcer | a hiatal hernia | an inguinal hernia | diverticulitis
        | intestinal polyps | intestinal perforation | ascites | splenomegaly | a ruptured spleen
        | a pancreatic cyst | a kidney cyst | hydronephrosis | an adrenal mass | a bladder infection
        | prostatitis | an ovarian cyst | endometriosis | pregnancy | a miscarriage | twins | a broken arm
        | a broken leg | a fractured femur | a skull fracture | a vertebral fracture | a wrist fracture
        | osteoporosis | scoliosis | arthritis | gout | a slipped disc | a torn ligament
        | a dislocated shoulder | tendonitis | a brain tumor | a brain haemorrhage | a cerebral infarct
        | a concussion | epilepsy | meningitis | dementia | Alzheimer's disease | Parkinson's disease
        | multiple sclerosis | migraine | a headache | depression | anxiety | schizophrenia | insomnia
        | glaucoma | a cataract | retinal detachment | conjunctivitis | tinnitus | deafness | sinusitis
        | tonsillitis | an ear infection | a toothache | caries | a goitre | a thyroid nodule
        | nodules of the thyroid gland | a breast lump | a breast mass | eczema | psoriasis | a rash | acne
        | a skin nodule | a wart | a scar on the knee | anaemia | anemia | leukemia | lymphoma
        | a blood clot in the leg | varicose veins | malaria | measles | influenza | chickenpox | HIV
        | Lyme disease | tetanus | sepsis | a urinary infection | a fever | obesity | a pneumothorax
        | a collapsed vertebra | a pulmonary embolism | an embolus | a knee effusion | a joint effusion
        | a foreign body | swallowed glass | tracheal stenosis | a pacemaker | enlarged nodes in the groin
        | a mass in the abdomen | a pelvic mass | a tumour of the kidney | constipation | food poisoning
        | haemorrhoids | celiac disease | a hormone deficiency | lupus | a drug allergy | hay fever
        | a fungal infection of the nails | baldness | a snake bite | burns""",
    # They sound like what the tasks answer, or lie beside it.
    "lookalike": """uterine fibroids | fibromyalgia | cystic fibrosis of the pancreas | heartburn
        | heart surgery | an artificial heart | a heart murmur | a heart rate over 100 | palpitations
        | a lung transplant | lung surgery | a lung biopsy | lung function loss | bronchitis | a cough
        | coughing of blood | chest pain | shortness of breath | a breathing tube | a tracheal tube
        | a chest drain | a breast implant | a nodule of the <organ> | a solid mass of the <organ>
        | a cyst of the <organ> | fibrosis of the <organ> | a scar on the <organ> | an effusion of the <organ>
        | a collapse of the bridge | a lymph node of the <organ> | cancer of the <organ>
        | a tumor of the <organ> | a metastasis of the <organ> | thickening of the <organ>
        | calcification of the <organ> | destruction of the <organ> | a covered bridge | a collapsing house
        | a consolidated loan | a brick wall | a scarf | a nod | an empty room | a massage | a marginal note
        | a density map | a mortality table of dogs | a locomotive | a hilarious story""",
    # What a task answers, though not by telling what it is or how it is treated.
    "known": """emphysema | COVID-19 | lung cancer | atelectasis | consolidation | a pleural effusion
        | fibrosis | a lung nodule | heart disease | adenopathy""",
    "foreign_cancer": """prostate cancer | ovarian cancer | skin cancer | melanoma | brain cancer
        | liver cancer | testicular cancer | bone cancer | leukemia | uterine cancer | a sarcoma
        | gallbladder cancer""",
    "other_cancer": """breast cancer | colon cancer | stomach cancer | pancreatic cancer | kidney cancer
        | bladder cancer | thyroid cancer | cervical cancer | <foreign_cancer>""",
    "fate": """a car accident | suicide | an overdose | drowning | old age | hunger | poisoning | an infection
        | diabetes | a stroke | kidney failure | dementia | a hip fracture | blindness | hair loss
        | a second child | a flood | an earthquake | bankruptcy | a thunderstorm | inflation""",
    # Greek roots and endings make the names of diseases; none of these roots is of lung, pleura or heart.
    "composed": "<root><ending> | <root><ending> of the <organ>",
    "root": """gastr | hepat | nephr | arthr | dermat | oste | col | cyst | encephal | my | neur | aden | rhin
        | ot | blephar | chol | enter | gloss | lith | mast | myel | orch | phleb | proct | spondyl | tend
        | thyroid | uter | vagin | laryng | pharyng | gingiv | kerat | lip | angi | hemangi | cephal""",
    "ending": """itis | oma | osis | opathy | algia | omegaly | ectasia | oplasia | odynia | omalacia | otomy
        | ocele | orrhea | ostenosis""",
    "organ": """liver | kidney | spleen | pancreas | stomach | bowel | colon | brain | skull | spine | hip
        | knee | shoulder | wrist | ankle | foot | hand | thyroid | breast | uterus | ovary | prostate
        | bladder | eye | ear | nose | tongue | tonsil | skin | appendix | gallbladder | jaw | pelvis | femur
        | neck | elbow""",
    "structure": """the <organ> | the <organ> | the left <organ> | the <organ> lesion | the <organ> tumor
        | the fracture | the stone | the pain | the cyst | the ulcer | the bleeding | the wound | the abscess
        | the catheter | the polyp | the fetus | the aneurysm of the brain | the <organ> mass
        | the <organ> nodule | the hernia | the bone | the implant""",
    "state": """inflamed | swollen | torn | infected | ruptured | bleeding | painful | fractured | healthy
        | normal | abnormal | damaged | enlarged | missing | transplanted | thickened | shrunken""",
    "score": """BI-RADS category | PI-RADS score | TI-RADS category | LI-RADS category | Gleason score
        | Glasgow coma scale | Apgar score | TNM stage | Child-Pugh class | Karnofsky index | school grade
        | IQ | credit score | football score | NYHA class | tumor grade""",
    "quantity": """blood pressure | heart rate | pulse | temperature | hemoglobin | creatinine | blood group
        | cholesterol value | platelet count | oxygen saturation | glucose level | shoe size | phone number
        | name | address | date of birth | room number | PSA value | ejection fraction | D-dimer
        | diagnosis code | body mass index | religion | nationality | job | insurance number
        | favourite color""",
    "everyday": """a cat | a dog | the car | a bicycle | the train | an airport | a hotel | the house | a tree
        | the moon | a star | the sun | an elephant | a bird | a fish | the river | the ocean | a mountain
        | the city | a bridge | a church | a castle | the king | the queen | a president | an actor | a singer
        | a book | a film | a song | a painting | the piano | a guitar | a computer | the phone | a password
        | the internet | an email | a letter | the bill | money | a bank | a shop | a restaurant | pizza
        | bread | coffee | a cake | an apple | wine | the kitchen | a table | a chair | a window | the door
        | a key | the school | a teacher | a football match | tennis | the weather | rain | snow | the summer
        | a holiday | a birthday | a wedding | the war | the election | a law | a language | a word | a number
        | a triangle | an atom | a planet | a dinosaur | a robot | the engine | a ticket | a map | Africa
        | London | India | Spain | Tokyo | Canada | a joke | a poem | a game | life | love | time | God
        | water | gold | a clock | a boat | a plane | a spider | a monkey | a flower | the garden | a shirt
        | a shoe | the bus | a job""",
    "verb": """wrote | invented | painted | built | discovered | won | founded | sold | stole | designed
        | owns | likes | sang | played | ate | broke | leads | made""",
    "do": """buy | sell | cook | repair | clean | learn | draw | play | book | rent | open | paint | translate
        | write | find | install | cancel | grow | send | print | use | describe | explain | compare
        | order""",
    "treat": "treated | cured | prevented | diagnosed | inherited | transmitted | caused | operated on",
    # A word that no language has: what is not known is refused.
    "invented": "<syllable><syllable> | <syllable><syllable><syllable> | <syllable><syllable><ending>",
    "syllable": """ba | de | fi | go | ku | la | me | ni | po | ru | sa | te | vi | wo | xa | ze | bran | cler
        | dron | flim | gast | hulk | jor | krev | lunt | merk | norp | plim | quar | rast | slog | trem
        | vund | wex | yil | zorn | tor | pal | min | ser | tal | cor | ven | dal | lor | tri | mon | bel
        | car""",
}

FILLINGS = {
    "finding": """<foreign> | <foreign> | <foreign> | <lookalike> | <foreign_cancer> | <composed> | <composed>
        | <everyday> | <invented>""",
    "where": "<structure> | <structure> | <everyday>",
    "size": "<structure> | <structure> | <everyday>",
    "attenuation": "<structure> | <everyday>",
    "margin": "<structure> | <everyday>",
    "future": "<other_cancer> | <foreign> | <composed> | <fate>",
    "death": "<other_cancer> | <foreign> | <fate> | <composed>",
    "category": "<score> | <quantity> | <invented>",
    "history": """<foreign> | <foreign> | <lookalike> | <composed> | <everyday> | <foreign_cancer>
        | <invented>""",
    "lasting": "<foreign> | <lookalike> | <composed> | <everyday>",
    "onset": "<foreign> | <composed> | <foreign_cancer>",
    "family": "<foreign> | <composed> | <other_cancer> | <everyday>",
    "whole": """is the <organ> <state> | is the <organ> <state> <on> | has the <organ> been <state>
        | does the <organ> look <state> | check the <organ> | assess the <organ> | how does the <organ> look
        | why does the <organ> hurt | does <patient> have pain in the <organ> | can you see the <organ>
        | is there a tear in the <organ> | a lump in the <organ> | does the <organ> need an operation
        | was the <organ> transplanted | <what> the <quantity> | <what> the <quantity> of <whom>
        | how high is the <quantity> | how is <known> treated | what causes <known> | explain <known>
        | which drug helps against <known> | is <known> contagious | can <known> be cured
        | what does <known> mean | what does <known> feel like | how is <element> treated
        | which drug is best for <element> | what causes <element> | is <scan> normal | what is the diagnosis
        | what do you <see> | any abnormality | is anything wrong | write a report | summarise <scan>
        | is <patient> healthy | what is wrong with <whom> | how is <foreign> <treat> | what causes <foreign>
        | which drug helps against <foreign> | how many people have <foreign> | is <foreign> contagious
        | can <foreign> be <treat> | which medicines does <patient> take | should <patient> take aspirin
        | is <patient> allergic to nuts | does <patient> need surgery | when can <patient> go home
        | can <patient> drive | is <patient> in pain | does <patient> drink alcohol | is <patient> married
        | how many children does <patient> have | who is <patient> | where does <patient> live
        | does <patient> like <everyday> | what is the name of the doctor | how much does <scan> cost
        | who made <scan> | which scanner was used | what dose of <invented> is right | what is <invented>
        | <invented> <invented> | <invented> | who <verb> <everyday> | who <verb> <everyday> <horizon>
        | when was <everyday> invented | what is the capital of <everyday> | what is <everyday>
        | what is a good name for <everyday> | how do I <do> <everyday> | how do you <do> <everyday>
        | where can I <do> <everyday> | can you <do> <everyday> | could you <do> <everyday> for me
        | please <do> <everyday> | <do> <everyday> | tell me about <everyday>
        | tell me something about <everyday> and <everyday> | do you like <everyday> | do you know <everyday>
        | how old is <everyday> | how tall is <everyday> | how heavy is <everyday> | how far is <everyday>
        | how much is <everyday> | how fast is <everyday> | how many <everyday> exist
        | how many legs has <everyday> | what colour is <everyday> | why is <everyday> so <state>
        | which <everyday> is the best | what time does <everyday> open | when does <everyday> start
        | is <everyday> open today | is <everyday> better than <everyday>
        | are <everyday> and <everyday> alike | does <everyday> cost much | has <everyday> arrived
        | will <everyday> be late | will <everyday> come
        | what is the difference between <everyday> and <everyday> | <everyday> or <everyday> | <everyday>
        | what is five times seven | how many days has a week | solve this equation | what day is it
        | good morning | hi | hey there | thanks a lot | goodbye | how are you doing | what can you do
        | who made you | are you human | are you a doctor | help | ok | yes | no | stop | why | never mind
        | I love <everyday> | I am hungry | I am bored | let us talk about <everyday> | what should I eat""",
}
